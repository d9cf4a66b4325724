package balance

import (
	"fmt"
	"time"
)

// A State says whether a server is picked.
type State uint8

// The states of a server.
const (
	Up    State = iota // it is picked
	Drain              // it is not picked; those that have it keep it
	Down               // it is not picked
)

func (s State) String() string { return [...]string{"up", "drain", "down"}[s] }

// ParseState reads what an administrator may set: ready, drain or down.
func ParseState(word string) (State, error) {
	switch word {
	case "ready":
		return Up, nil
	case "drain":
		return Drain, nil
	case "down":
		return Down, nil
	}
	return Up, fmt.Errorf("balance: %q is not ready, drain or down", word)
}

// By is who decided about a state.
type By string

// Who decides.
const (
	ByHand    By = "hand"    // the administrator
	ByAgent   By = "agent"   // the server's agent
	ByCheck   By = "check"   // Settings.Check
	BySession By = "session" // what sessions saw
	ByConfig  By = "config"  // a new configuration, which lacks who had decided before
)

// An Event is a change of a server's state.
type Event struct {
	Target   Target
	From, To State
	By       By
	Why      string // for the log
	At       time.Time
}

// A server is a target and what is known of it.
type server struct {
	Target
	hash     uint64 // of Addr
	gone     bool   // the configuration does not name it any more
	sessions int
	current  float64 // how much its turn is due, see smooth

	state State
	by    By // who decided it; "" while nobody has
	why   string
	since time.Time // zero while it is what it was at first
	grows time.Time // since when it has been in slow start; zero: it is not

	hand State
	agent
	health

	probers  [2]*prober
	reports  [2]Report
	failures map[string]uint64 // of sessions, by kind
	greeting time.Duration     // the last
}

// health is what the check and the sessions say of a server.
type health struct {
	well   bool
	sick   By   // who took it down
	unseen bool // neither a check nor a session has seen it yet

	rises, falls int // of the check, in a row

	fails  int       // of sessions, in a row
	failed time.Time // when the last of them was, or when it went down
	pause  time.Duration
	trial  *Lease // the one that tries it; nil: none does
	epoch  int    // how often it came up again: sessions picked before that do not count
}

// The pause before a server is tried again that failed.
const (
	leastPause = time.Second
	mostPause  = 30 * time.Second
)

// wanted is what hand and agent say.
func (s *server) wanted() (State, By) {
	switch {
	case s.hand != Up:
		return s.hand, ByHand
	case s.agent.state() != Up:
		return s.agent.state(), ByAgent
	}
	return Up, ""
}

// refresh finds the state of a server after something was said about it, and by whom.
func (g *Group) refresh(s *server, by By, why string) {
	to, decides := s.wanted()
	if to == Up && !s.well {
		to, decides = Down, s.sick
	}
	from := s.state
	g.changed = true // Also one that is down for another reason may now be one to try.
	if to == from {
		if decides != "" && decides != s.by {
			s.by, s.why = decides, why
		}
		return
	}
	if decides == "" {
		decides = by
	}
	s.state, s.by, s.why, s.since = to, decides, why, time.Now()
	s.grows = time.Time{}
	if to == Up {
		s.current = 0
		if from == Down && g.settings.SlowStart > 0 {
			s.grows = s.since
		}
	}
	if s.gone {
		return
	}
	e := Event{Target: s.Target, From: from, To: to, By: by, Why: why, At: s.since}
	g.news = append(g.news, func() { g.options.Changed(e) })
	switch {
	case to == Up:
		g.count(1)
	case from == Up:
		g.count(-1)
	}
}

// count notes that n more servers are up.
func (g *Group) count(n int) {
	before := g.up > 0
	g.up += n
	if after := g.up > 0; after != before {
		g.news = append(g.news, func() { g.options.Usable(after) })
	}
}

// sicken takes a server down.
func (g *Group) sicken(s *server, by By, why string) {
	s.well, s.sick = false, by
	s.rises, s.trial = 0, nil
	s.failed, s.pause = time.Now(), leastPause
	g.refresh(s, by, why)
}

// heal brings it up again.
func (g *Group) heal(s *server, by By, why string) {
	s.well = true
	s.falls, s.fails, s.trial = 0, 0, nil
	s.epoch++
	g.refresh(s, by, why)
}

// due tells whether one pick may try a server that failed, as if it had not.
func (g *Group) due(s *server, c *clock) bool {
	return g.mayTry(s) && !c.now().Before(g.dueAt(s))
}

// mayTry tells whether it will be due at some time.
func (g *Group) mayTry(s *server) bool {
	if s.trial != nil {
		return false
	}
	if s.state == Up {
		return true
	}
	wanted, _ := s.wanted()
	return wanted == Up && !g.settings.asks(checks)
}

// dueAt is when.
func (g *Group) dueAt(s *server) time.Time {
	if s.state == Up || g.up == 0 {
		return s.failed.Add(leastPause)
	}
	return s.failed.Add(s.pause)
}

// Set is the administrator's word on all servers of that name: Up is ready, and leaves the
// decision to agent and health again. It is kept until a Configure names no such server.
func (g *Group) Set(name string, to State) error {
	g.mu.Lock()
	defer g.unlock()
	_, known := g.hand[name]
	for _, s := range g.known {
		if s.Name != name || s.gone {
			continue
		}
		known = true
		s.hand = to
		g.refresh(s, ByHand, "set by hand")
	}
	if !known {
		return ErrUnknown
	}
	if to == Up {
		delete(g.hand, name)
	} else {
		g.hand[name] = to
	}
	return nil
}

// Usable tells whether a server is up.
func (g *Group) Usable() bool {
	g.mu.Lock()
	defer g.unlock()
	return g.up > 0
}
