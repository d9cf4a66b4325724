// Package balance chooses one of several servers: by a policy, by what is known of their
// health, and by what an administrator says. It knows nothing of FTP or of sessions: who
// picks a server says afterwards what became of it.
//
// # State of a server
//
// A server has one of three states:
//
//	up     it is picked
//	drain  it is not picked; those that have it keep it
//	down   it is not picked
//
// Three are asked, and the first that objects decides:
//
//  1. the administrator (Group.Set: drain or down), which is kept over Configure;
//  2. the server's own agent (Settings.Agent: drain, maint, down, 0%);
//  3. its health: Settings.Check, and the sessions themselves.
//
// # Health
//
// Fall failures in a row take a server down: those of the check, or those that sessions
// report with Lease.Failed. The two are counted apart, because a check may succeed (the
// port is open) where sessions fail (no greeting comes).
//
// With a check, Rise successes of it in a row bring the server up again. Without one,
// sessions find out: after a pause one pick at a time may try the server, and
// Lease.Greeted brings it up. The pause is a second, and doubles to 30 s with each try
// that fails; while no server of the group is up it is a second at most.
//
// A server is up when it is new. If the very first verdict on it is a failed check it goes
// down at once, as it does in HAProxy: nobody has seen it work.
//
// A server that is up but failed last time is doubted: others of its tier are picked
// before it, so that clients need not wait for it. After a second one pick at a time treats
// it like the others. So one failure moves no client for long, and a server that hangs
// holds up one client and not all.
//
// # Who waits
//
// A tier whose servers that are up all have Target.Max sessions makes picks wait, first
// come first served, and does not send them to the next tier: servers of higher tiers are
// spares for servers that are dead, not for those that are busy. Under a hash policy
// a pick waits for the one server that its key belongs to. Where Settings.Queue leaves no
// room to wait, it takes the best of the others that have a place.
//
// Invariant: nobody waits who could have a place. Every change that may give somebody
// a place serves those who wait before the lock is released, so nobody overtakes them.
package balance

import (
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Errors of Pick and Set.
var (
	// ErrDown: no server is up, or the group has none.
	ErrDown = errors.New("balance: no server is up")
	// ErrTried: each server that is up was already tried.
	ErrTried = errors.New("balance: every server was tried")
	// ErrFull: all servers have as many sessions as they may, and too many wait.
	ErrFull = errors.New("balance: every server is full, and so is the queue")
	// ErrWaited: the context ended before a server had a place. The error wraps the
	// context's cause, too.
	ErrWaited = errors.New("balance: waited for a server in vain")
	// ErrClosed: the group is closed.
	ErrClosed = errors.New("balance: closed")
	// ErrUnknown: no server has this name.
	ErrUnknown = errors.New("balance: unknown server")
)

// A Policy is how one of several servers is chosen.
type Policy string

// The policies. Weights count in all but the first.
const (
	First      Policy = "first"      // the first in the order of the targets
	RoundRobin Policy = "roundrobin" // in turn; the turns of a heavy server are spread evenly
	LeastConn  Policy = "leastconn"  // the fewest sessions for its weight; equal ones in turn
	Random     Policy = "random"     // two by chance, and of these the one with less load
	Source     Policy = "source"     // by a hash of the client's address
	User       Policy = "user"       // by a hash of the user's name
)

// hashes tells whether a policy always gives a key the same server.
func (p Policy) hashes() bool { return p == Source || p == User }

// maxWeight is the largest weight of a server, also with more than 100% from its agent.
const maxWeight = 256

// A Target is one server as it is configured. Name and Addr together say which it is: for
// a target whose Name and Addr stay, Configure keeps what is known of it.
type Target struct {
	Name   string         // what the configuration calls it; the addresses of one name share it
	Host   string         // its name in TLS
	Addr   netip.AddrPort // where it is; a hash policy hashes this
	Weight int            // 1 to 256; 0: 1
	Tier   int            // used while no lower tier has a server that is up
	Max    int            // sessions at the same time; 0: no limit
}

// id is what tells servers apart.
type id struct {
	name string
	addr netip.AddrPort
}

func (t Target) id() id { return id{t.Name, t.Addr} }

// Settings are how a group chooses and checks. A field that is zero has its default.
type Settings struct {
	Policy    Policy
	Queue     int           // how many may wait for a place; 0: nobody waits
	Rise      int           // successes in a row of the check that bring a server up; 0: 2
	Fall      int           // failures in a row that take it down; 0: 3
	SlowStart time.Duration // in which a server that came up again grows to its full weight; 0: at once

	// Check says whether a server works, and a text for the administrator. It must end
	// when its context does; one that does not counts as failed all the same, and is not
	// called again for this server before it has ended. nil: no checks.
	Check func(context.Context, Target) (text string, took time.Duration, err error)
	// Agent reads the line of a server's agent (ParseAgent). An error changes nothing:
	// whether the server works is what Check is for. nil: no agents.
	Agent func(context.Context, Target) (line string, err error)
	// Interval is the time between checks, and between questions to the agent, give or
	// take a tenth. 0: neither is done.
	Interval time.Duration
	Timeout  time.Duration // of one check, and of one question to the agent; 0: Interval
	// CheckKey stands for all that Check and Agent depend on (functions cannot be
	// compared). If it, Interval, Timeout and a target's Host stay the same, Configure
	// lets a running check finish; else it is ended and its verdict dropped.
	CheckKey string
}

// withDefaults fills in the defaults.
func (s Settings) withDefaults() Settings {
	if s.Policy == "" {
		s.Policy = First
	}
	if s.Rise <= 0 {
		s.Rise = 2
	}
	if s.Fall <= 0 {
		s.Fall = 3
	}
	if s.Timeout <= 0 {
		s.Timeout = s.Interval
	}
	return s
}

// asks tells whether servers are asked for kind.
func (s *Settings) asks(kind probe) bool {
	return s.Interval > 0 && (kind == checks && s.Check != nil || kind == agents && s.Agent != nil)
}

// A Key is what the hash policies go by. Policy User takes the client's address while no
// user is known.
type Key struct {
	Client netip.Addr
	User   string
}

// Options is what a group works with for life. The functions are called with no lock
// held, one call at a time, in the order in which things happened, and on the goroutine
// that caused one of the changes. They may call the group, and must return soon.
type Options struct {
	// Changed is called for each change of a server's state. A server that is added or
	// removed by Configure is no change. nil: nobody is told.
	Changed func(Event)
	// Usable is called when the group gets its first server that is up, and when it has
	// none any more. nil: nobody is told.
	Usable func(bool)
	// Rand is where chance comes from: policy Random and the spread of checks. It is used
	// with the group locked. nil: a seed by chance.
	Rand rand.Source
}

// A Group is the servers of one backend. It outlives configurations. Its methods may be
// called at the same time.
type Group struct {
	options Options
	running sync.WaitGroup // probers and what they call

	mu       sync.Mutex // unlock it with unlock
	rand     *rand.Rand
	closed   bool
	settings Settings
	known    map[id]*server   // the configured ones, and those gone that have sessions
	tiers    [][]*server      // the configured ones
	hand     map[string]State // by Name: what an administrator has set, unless it is Up
	up       int              // configured servers that are up

	waiters list.List   // of *waiter
	changed bool        // those who wait must be looked at before the lock is released
	alarm   *time.Timer // looks at them when a server may be tried again; nil: not needed yet

	news    []func() // calls to Options, not done yet
	telling bool     // a goroutine is doing them

	free, doubted, full, tied []*server // scratch space of choose
}

// New returns a group without servers. Close ends it.
func New(o Options) *Group {
	if o.Changed == nil {
		o.Changed = func(Event) {}
	}
	if o.Usable == nil {
		o.Usable = func(bool) {}
	}
	if o.Rand == nil {
		o.Rand = rand.NewPCG(rand.Uint64(), rand.Uint64())
	}
	return &Group{
		options:  o,
		rand:     rand.New(o.Rand),
		settings: Settings{}.withDefaults(),
		known:    make(map[id]*server),
		hand:     make(map[string]State),
	}
}

// unlock serves those who wait, if something has changed for them, releases the lock, and
// does the calls to Options. If another goroutine is doing some, it does these as well.
func (g *Group) unlock() {
	if g.changed {
		g.changed = false
		g.serve(nil)
	}
	if g.telling {
		g.mu.Unlock()
		return
	}
	g.telling = len(g.news) > 0
	for len(g.news) > 0 {
		news := g.news
		g.news = nil
		g.mu.Unlock()
		for _, tell := range news {
			tell()
		}
		g.mu.Lock()
	}
	g.telling = false
	g.mu.Unlock()
}

// closeTime is how long Close waits for checks. Only one that does not heed its context
// takes so long.
const closeTime = time.Second

// Close ends the checks, and every wait with ErrClosed. Leases can still be released.
// Safe to repeat.
func (g *Group) Close() error {
	g.mu.Lock()
	g.closed = true
	for _, s := range g.known {
		s.stop(checks)
		s.stop(agents)
	}
	if g.alarm != nil {
		g.alarm.Stop()
	}
	for e := g.waiters.Front(); e != nil; e = g.waiters.Front() {
		g.settle(e.Value.(*waiter), nil, ErrClosed)
	}
	g.unlock()
	ended := make(chan struct{})
	go func() {
		g.running.Wait()
		close(ended)
	}()
	patience := time.NewTimer(closeTime)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
	}
	return nil
}
