package balance

import (
	"fmt"
	"slices"
	"time"
)

// Configure puts settings and targets in force. What is known of servers that stay is kept;
// one whose check has taken it down is tried by sessions if there are no checks any more.
func (g *Group) Configure(settings Settings, targets []Target) {
	g.mu.Lock()
	defer g.unlock()
	if g.closed {
		return
	}
	g.settings = settings.withDefaults()
	g.place(targets)
}

// SetTargets puts other targets in force, with the same settings.
func (g *Group) SetTargets(targets []Target) {
	g.mu.Lock()
	defer g.unlock()
	if !g.closed {
		g.place(targets)
	}
}

// place is SetTargets with the group locked.
func (g *Group) place(targets []Target) {
	wanted := make(map[id]bool, len(targets))
	names := make(map[string]bool, len(targets))
	var order []*server
	for _, t := range targets {
		t.Weight = max(t.Weight, 1)
		names[t.Name] = true
		if wanted[t.id()] {
			continue
		}
		wanted[t.id()] = true
		s := g.known[t.id()]
		switch {
		case s == nil:
			s = g.add(t)
		case s.gone:
			s.hand = g.hand[t.Name]
			g.refresh(s, ByConfig, "configured again")
			s.gone = false
			if s.state == Up {
				g.count(1)
			}
		}
		s.Target = t
		order = append(order, s)
	}
	for key, s := range g.known {
		if !wanted[key] && !s.gone {
			g.drop(s)
		}
	}
	for name := range g.hand {
		if !names[name] {
			delete(g.hand, name)
		}
	}
	g.tiers = nil
	slices.SortStableFunc(order, func(a, b *server) int { return a.Tier - b.Tier })
	for _, s := range order {
		last := len(g.tiers) - 1
		if last < 0 || g.tiers[last][0].Tier != s.Tier {
			g.tiers = append(g.tiers, nil)
			last++
		}
		g.tiers[last] = append(g.tiers[last], s)
		g.probe(s, fmt.Sprint(g.settings.CheckKey, g.settings.Interval, g.settings.Timeout, s.Host))
		if !g.settings.asks(agents) && s.agent != (agent{}) {
			s.agent = agent{}
			g.refresh(s, ByConfig, "it has no agent any more")
		}
	}
	g.changed = true
}

// add makes a server known.
func (g *Group) add(t Target) *server {
	s := &server{Target: t, hash: hashText(t.Addr.String()), hand: g.hand[t.Name]}
	s.well, s.new = true, true
	if s.hand != Up {
		s.state, s.by, s.why, s.since = s.hand, ByHand, "set by hand", time.Now()
	}
	g.known[t.id()] = s
	if s.state == Up {
		g.count(1)
	}
	return s
}

// drop makes a server one that is configured no more. Sessions keep it.
func (g *Group) drop(s *server) {
	if s.state == Up {
		g.count(-1)
	}
	s.gone = true
	s.stop(checks)
	s.stop(agents)
	if s.sessions == 0 {
		delete(g.known, s.id())
	}
}

// A Server is a server in a Snapshot.
type Server struct {
	Target
	State    State
	By       By        // who decided it; "" while nobody has
	Why      string    // for the administrator
	Since    time.Time // zero: since it is known
	Sessions int
	Weight   float64           // now: slow start and the agent change it
	Failures map[string]uint64 // of sessions, by kind
	Greeting time.Duration     // the last; 0: none yet
	Check    Report
	Agent    Report
}

// A Snapshot is a group at one moment.
type Snapshot struct {
	Policy  Policy
	Waiting int // picks that wait for a place
	Queue   int // how many may
	Servers []Server
}

// Snapshot tells of the configured servers, in the order of their tiers.
func (g *Group) Snapshot() Snapshot {
	g.mu.Lock()
	defer g.unlock()
	var c clock
	all := Snapshot{Policy: g.settings.Policy, Waiting: g.waiters.Len(), Queue: g.settings.Queue}
	for _, tier := range g.tiers {
		for _, s := range tier {
			one := Server{Target: s.Target, State: s.state, By: s.by, Why: s.why, Since: s.since, Sessions: s.sessions,
				Weight: g.weight(s, &c), Greeting: s.greeting, Check: s.reports[checks], Agent: s.reports[agents]}
			if len(s.failures) > 0 {
				one.Failures = make(map[string]uint64, len(s.failures))
				for kind, n := range s.failures {
					one.Failures[kind] = n
				}
			}
			all.Servers = append(all.Servers, one)
		}
	}
	return all
}
