package balance

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Snapshot is what is known of a group.
type Snapshot struct {
	Policy  Policy
	Usable  bool // a server is up
	Waiting int  // picks that wait for a place
	Queue   int  // how many may
	Servers []Status
}

// A Status is what is known of a server.
type Status struct {
	Target   Target
	Gone     bool // it has sessions, but is not configured any more
	State    State
	By       By        // who decided that; "" while nobody has
	Why      string    // what was said then
	Since    time.Time // zero while it is what it was at first
	Hand     State     // what the administrator has set; Up is ready
	Well     bool      // what the check and the sessions say
	Doubted  bool      // it is up, but failed last time
	Sessions int
	Max      int               // sessions, as configured or as the agent says; 0: no limit
	Weight   float64           // now, after agent and slow start
	Failures map[string]uint64 // of sessions, by kind
	Greeting time.Duration     // the time to the last greeting
	Check    Report
	Agent    Report // Err is, after an answer, a word that is no word of agents
}

// A Report is the last of a server's checks, or answers of its agent.
type Report struct {
	Text string
	Err  error // nil: it went well
	Took time.Duration
	At   time.Time // zero: there was none
}

// Snapshot tells what is known now: the servers in the order in which they are configured,
// tier by tier, and then those that are gone.
func (g *Group) Snapshot() Snapshot {
	g.mu.Lock()
	defer g.unlock()
	var c clock
	all := Snapshot{
		Policy:  g.settings.Policy,
		Usable:  g.up > 0,
		Waiting: g.waiters.Len(),
		Queue:   g.settings.Queue,
	}
	for _, tier := range g.tiers {
		for _, s := range tier {
			all.Servers = append(all.Servers, g.status(s, &c))
		}
	}
	first := len(all.Servers)
	for _, s := range g.known {
		if s.gone {
			all.Servers = append(all.Servers, g.status(s, &c))
		}
	}
	slices.SortFunc(all.Servers[first:], func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Target.Name, b.Target.Name), a.Target.Addr.Compare(b.Target.Addr))
	})
	return all
}

func (g *Group) status(s *server, c *clock) Status {
	return Status{
		Target:   s.Target,
		Gone:     s.gone,
		State:    s.state,
		By:       s.by,
		Why:      s.why,
		Since:    s.since,
		Hand:     s.hand,
		Well:     s.well,
		Doubted:  s.state == Up && s.fails > 0,
		Sessions: s.sessions,
		Max:      s.limit(),
		Weight:   g.weight(s, c),
		Failures: maps.Clone(s.failures),
		Greeting: s.greeting,
		Check:    s.reports[checks],
		Agent:    s.reports[agents],
	}
}
