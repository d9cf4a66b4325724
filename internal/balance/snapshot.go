package balance

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Snapshot is what a group knows at one moment.
type Snapshot struct {
	Policy  Policy
	Queue   int // how many may wait
	Waiting int // how many do
	Servers []Status
}

// A Status is what is known of one server.
type Status struct {
	Target
	State    State
	By       By        // who decided it; "" while nobody has
	Why      string    // for the administrator
	Since    time.Time // zero: it is what it was at first
	Gone     bool      // the configuration does not name it any more, but it has sessions
	Sessions int
	Now      float64           // its weight now: the agent and slow start count
	Limit    int               // sessions that it may have now: the agent counts; 0: any number
	Failures map[string]uint64 // that sessions saw, by kind
	Check    Report
	Agent    Report
	Greeting time.Duration // what the last session waited for its greeting; 0: none had one
}

// Snapshot tells of all servers: those configured in the order of their tiers, and then
// those that only have sessions left.
func (g *Group) Snapshot() Snapshot {
	g.mu.Lock()
	defer g.unlock()
	var c clock
	snapshot := Snapshot{Policy: g.settings.Policy, Queue: g.settings.Queue, Waiting: g.waiters.Len()}
	for _, tier := range g.tiers {
		for _, s := range tier {
			snapshot.Servers = append(snapshot.Servers, g.status(s, &c))
		}
	}
	configured := len(snapshot.Servers)
	for _, s := range g.known {
		if s.gone {
			snapshot.Servers = append(snapshot.Servers, g.status(s, &c))
		}
	}
	slices.SortFunc(snapshot.Servers[configured:], func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr))
	})
	return snapshot
}

func (g *Group) status(s *server, c *clock) Status {
	return Status{
		Target:   s.Target,
		State:    s.state,
		By:       s.by,
		Why:      s.why,
		Since:    s.since,
		Gone:     s.gone,
		Sessions: s.sessions,
		Now:      g.weight(s, c),
		Limit:    s.limit(),
		Failures: maps.Clone(s.failures),
		Check:    s.reports[checks],
		Agent:    s.reports[agents],
		Greeting: s.greeting,
	}
}
