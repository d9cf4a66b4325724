// Package portpool lends the ports on which data connections arrive.
//
// A range of N ports serves N pending leases for each peer and any number of
// peers: a listener is shared, and a connection is told apart by the address of
// its peer. TCP does not say for which lease a connection was opened, so leases
// that one connection could be meant for never overlap in time.
//
// # Whose a connection is
//
// The key of a lease is its port, its peer (a network, and others that are
// lent to it), the local address (a wildcard and an address in it are one), and
// the owner where connections name theirs. Two leases whose keys have a
// connection in common are never alive at once. A key is
//
//	reserved   from Pool.Lease until Lease.promise; given up before that, it is free
//	promised   from Lease.promise on, when the peer is told the address
//	held       met by a connection: with Request.Hold until Lease.Close, with
//	           Request.Header until Lease.Accept returns it
//	cooling    after a promise that no connection met: [Short] once the peer has
//	           moved on (Lease.movedOn), [Long] once it was told that nobody
//	           waits (Lease.told, or the reset of its connection)
//	withheld   after a promise that no connection met, of a peer that was told
//	           nothing: no timer ends it
//
// The first connection of the peer that was opened after the promise is the
// lease's, and frees the key, unless that is held. A connection that comes for a
// key that is cooling or withheld is reset; it was the missing one, and frees the
// key if the peer had moved on. With Request.Header a relay brings connections,
// which may try again after a reset, whatever the peer does: so a reset frees
// nothing there, neither of a late connection nor of one that nobody took. A lease
// that its owner closes for no reason that the peer knows is withheld, so the safe
// end is the one that needs no call.
//
// docs/decisions/0004-whose-a-connection-is.md has the argument.
//
// # Who waits
//
// A request for which no key is free waits, first come first served for each
// peer. If a key of the peer is withheld and its owner is known to be silent
// (Lease.fallSilent), the one who has been silent longest is asked to leave
// (Request.Evict).
//
// A port listens only while a lease is pending on it. A pool at rest has no
// goroutine, and no timer [Long] after the last promise: there is one goroutine
// for each listening port, and one timer.
package portpool

import (
	"cmp"
	"container/list"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// Short is how long relays and retries may follow after a peer that has
	// closed its attempt to connect.
	Short = 4 * time.Second
	// Long is how long a peer may take to end an attempt of which it was told
	// that nobody waits: SYNs come at 0, 1, 3, 7, 15 and 31 s.
	Long = 32 * time.Second
	// slack is how much older than its promise a connection may look: the kernel
	// counts in ticks.
	slack = 20 * time.Millisecond
	// busyTime is how long a port that another program has is not tried again.
	busyTime = time.Second
	// maxWaiters is how many requests of one peer may wait.
	maxWaiters = 256
)

// Errors of the package. Those that are returned wrap them with the cause.
var (
	// ErrFull: no port became free before the context ended, or too many wait.
	ErrFull = errors.New("portpool: every port is lent")
	// ErrBind: no port of the range can be listened on, whoever the peer is.
	ErrBind = errors.New("portpool: no port can be bound")
	// ErrClosed: the lease or the pool is closed, or the lease's connection
	// was already taken.
	ErrClosed = errors.New("portpool: closed")
	// ErrRequest: the request names no ports, no local address or no peer.
	ErrRequest = errors.New("portpool: invalid request")
	// ErrAmbiguous: a connection fitted two leases, and both were ended. The
	// rule of keys makes this impossible.
	ErrAmbiguous = errors.New("portpool: a connection fits two leases")

	// ErrManyWait is a cause of ErrFull: very many requests of this peer wait.
	ErrManyWait = errors.New("too many requests of this peer wait")
)

// Options is what a pool works with. Listen must be set.
type Options struct {
	// Listen opens a listener, a transparent one on an address that need not be
	// this machine's. It is called with the pool locked, so it must not block,
	// and it must not call the pool. A listener that has the method
	//
	//	Queued() []net.Conn
	//
	// is asked for what is in its queue, without waiting, before it is closed.
	Listen func(addr netip.AddrPort, transparent bool) (net.Listener, error)
	// Born tells when the first SYN of an accepted connection came, by Clock. nil:
	// connections are as old as their accept.
	Born func(net.Conn) time.Time
	// Clock is by what promises are compared with it. nil: time.Now.
	Clock func() time.Time
	// Events is told what happens. nil: nobody is.
	Events Events
	// Spawn runs a function on a goroutine of its own and does not wait for it.
	// nil: a new goroutine.
	Spawn func(func())
}

// A Pool lends ports. It is keyed by address, so one pool serves any number of
// ranges, also such as overlap. Its methods may be called at the same time.
type Pool struct {
	Options
	running sync.WaitGroup // accept loops, identifications, and the alarm's call

	mu      sync.Mutex
	closed  bool
	numbers map[uint16]*number // only those that there is something to say about
	scopes  map[scopeKey]*scope
	idle    list.List // of *scope without leases and waiters, the longest idle first
	untaken map[*Lease]struct{}
	headers map[netip.Addr][]*guest // whose header is awaited, by the proxy, the oldest first

	debts    index[*debts] // who owes a connection, by peer
	mayLeave int           // silent leases whose owner may be asked to leave
	queues   index[*queue] // who waits, by peer
	waiting  int           // in all of them
	blocked  int           // of these, because of leases of another configuration
	turns    uint64        // counts waiters
	offers   []offer       // keys that became free, for finish

	cooling [2][]cooled // for Short and for Long, each in the order in which they end
	busy    []busyPort  // in the order in which they end
	alarm   *alarm      // nil unless something will be due
}

// New returns a pool without leases.
func New(o Options) *Pool {
	if o.Events == nil {
		o.Events = NoEvents{}
	}
	if o.Spawn == nil {
		o.Spawn = func(f func()) { go f() }
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Born == nil {
		o.Born = func(net.Conn) time.Time { return o.Clock() }
	}
	return &Pool{
		Options: o,
		numbers: make(map[uint16]*number),
		scopes:  make(map[scopeKey]*scope),
		untaken: make(map[*Lease]struct{}),
		headers: make(map[netip.Addr][]*guest),
	}
}

// Usage is how much of one range on one local address is in use.
type Usage struct {
	Local    netip.Addr
	Ports    Range
	Pending  int // leases whose connection has not come
	Held     int // leases with Hold whose connection has come
	Cooling  int // keys that a late connection may still be meant for, for a known time
	Withheld int // the same, until their owner moves on or ends
	Waiting  int // requests that wait for a port
}

// Snapshot tells what is in use now, ordered by address and range. It names
// only what has a lease, a key that is not free, or somebody waiting.
func (p *Pool) Snapshot() []Usage {
	type place struct {
		local netip.Addr
		ports Range
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Usage
	at := make(map[place]int)
	usage := func(r *Request) *Usage {
		s := place{r.Local, r.Ports}
		i, ok := at[s]
		if !ok {
			i = len(all)
			at[s] = i
			all = append(all, Usage{Local: r.Local, Ports: r.Ports})
		}
		return &all[i]
	}
	p.eachLease(func(l *Lease) {
		switch u := usage(&l.request); l.key {
		case reserved, promised:
			u.Pending++
		case held:
			u.Held++
		case cooling:
			u.Cooling++
		case withheld:
			u.Withheld++
		}
	})
	for _, q := range p.queues.cells { // Each waits in one place as a peer's.
		for _, w := range q.waiters {
			usage(&w.request).Waiting++
		}
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(a.Local.Compare(b.Local), cmp.Compare(a.Ports.First, b.Ports.First), cmp.Compare(a.Ports.Last, b.Ports.Last))
	})
	return all
}

// eachLease calls do for each lease whose key is not free.
func (p *Pool) eachLease(do func(*Lease)) {
	for _, n := range p.numbers {
		for _, pt := range n.ports {
			for l := range pt.leases {
				do(l)
			}
		}
	}
}

// Close ends every lease and every wait with ErrClosed, closes the listeners
// and the connections that nobody took, and waits for the pool's goroutines.
// Connections that were taken stay their callers'. Safe to repeat.
func (p *Pool) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		p.disarm()
		for _, q := range p.queues.cells {
			for _, w := range q.waiters {
				w.settle(nil, ErrClosed)
			}
		}
		p.queues, p.waiting, p.blocked = index[*queue]{}, 0, 0
		var all []*Lease
		p.eachLease(func(l *Lease) { all = append(all, l) })
		for _, l := range all {
			p.end(l, ErrClosed, time.Time{})
			p.free(l, time.Time{})
		}
		for l := range p.untaken {
			p.end(l, ErrClosed, time.Time{})
		}
		clear(p.numbers)
		clear(p.scopes)
		p.idle.Init()
		p.debts = index[*debts]{}
		p.cooling, p.busy = [2][]cooled{}, nil
	}
	p.mu.Unlock()
	p.running.Wait()
	return nil
}
