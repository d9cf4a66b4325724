// Package portpool lends the ports on which data connections arrive.
//
// A range of N ports serves N pending leases for each peer and any number of
// peers: a listener is shared, and the connection that arrives is told apart by
// its peer's address. (local address, port, peer) names one lease, and a peer
// may be a prefix; two peers that overlap count as one. Where connections name
// their owner (Request.ByOwner), that is a part of the key, too.
//
// # The life of a lease
//
//	pending    from Pool.Lease until the listener has accepted the peer's connection
//	delivered  the connection waits for Lease.Accept
//	taken      Lease.Accept has returned it; it is the caller's now
//	ended      closed, expired, or the pool was closed
//
// A port listens only while a lease is pending on it. What becomes of the key
// afterwards depends on how the lease ended:
//
//   - It was used (delivered or taken): the key is free at once, or, if
//     Request.Hold was set, when the lease is closed.
//   - It ended unused: nobody but the same owner gets the key for two seconds,
//     so that a late SYN cannot land in another session.
//   - It was pending for three seconds while somebody else waited for that
//     peer: it expires. The two seconds count here, too, and for its owner as
//     well, because the port was taken back for the one who waits. So a port
//     that its owner never uses reaches the one who waits no later than five
//     seconds after it was lent.
//
// A pool at rest has neither goroutines nor timers: there is one goroutine for
// each listening port, and one timer while somebody waits.
package portpool

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// quarantineTime is how long the key of an unused lease is kept from others.
	quarantineTime = 2 * time.Second
	// expireAfter is the age at which a pending lease gives way to one who waits.
	expireAfter = 3 * time.Second
	// busyTime is how long a port that another program has is not tried again.
	busyTime = time.Second
	// maxOwnQuarantines is how many keys one owner may have in quarantine
	// before it is given those back instead of fresh ports, so that a session
	// that asks and asks cannot use up the ports of its neighbours behind the
	// same address.
	maxOwnQuarantines = 4
)

// Errors of the package. Those that are returned wrap them with the cause.
var (
	// ErrFull: no port became free before the context ended.
	ErrFull = errors.New("portpool: every port is lent")
	// ErrBind: no port of the range can be listened on, whoever the peer is.
	ErrBind = errors.New("portpool: no port can be bound")
	// ErrExpired: the lease was taken back because somebody else waited.
	ErrExpired = errors.New("portpool: lease expired unused")
	// ErrClosed: the lease or the pool is closed, or the lease's connection
	// was already taken.
	ErrClosed = errors.New("portpool: closed")
	// ErrRequest: the request names no ports, no local address or no peer.
	ErrRequest = errors.New("portpool: invalid request")
)

// Listen opens a listener, a transparent one on an address that need not be this
// machine's. It is called with the pool locked, so it must not block, and it must
// not call the pool.
type Listen func(addr netip.AddrPort, transparent bool) (net.Listener, error)

// Spawn runs a function on a goroutine of its own and does not wait for it.
type Spawn func(func())

// A Range is the ports First to Last, both included.
type Range struct{ First, Last uint16 }

// Len is the number of ports.
func (r Range) Len() int {
	if r.First == 0 || r.Last < r.First {
		return 0
	}
	return int(r.Last) - int(r.First) + 1
}

// Contains reports whether port lies in the range.
func (r Range) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// String is "30000-30099", or "30000" for a single port.
func (r Range) String() string {
	first := strconv.Itoa(int(r.First))
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.Itoa(int(r.Last))
}

// An Identity is whose connection it is.
type Identity struct {
	Peer  netip.Addr
	Owner uint64 // where the connection tells that itself; 0 is nobody
}

// A Request says what is wanted of a pool.
type Request struct {
	// Local is the address to listen on; it may be unspecified. A listener on
	// "::" serves IPv4 peers, too.
	Local netip.Addr
	// Transparent says that Local is an address of somebody else.
	Transparent bool
	Ports       Range
	// Peer is whose connection belongs to the lease: a single address, or a
	// prefix for clients whose data comes from a neighbouring address.
	Peer netip.Prefix
	// Others are more networks whose connections belong to the lease.
	Others []netip.Prefix
	// Identify tells whose a connection is, where its own address does not: it
	// reads a PROXY header, say. It runs on a goroutine of its own, bounds its
	// time itself, and returns the connection that Lease.Accept is to return.
	// After an error the connection is closed and nobody is told of it. nil: the
	// connection's remote address tells.
	Identify func(conn net.Conn) (net.Conn, Identity, error)
	// Through are the networks of those whose connections are identified for
	// this lease. Leases of one port may trust others: each is given only what
	// came through its own.
	Through []netip.Prefix
	// Owner is the session. It takes its own key out of quarantine. Zero is nobody.
	Owner uint64
	// ByOwner says that Identify names the owner of each connection, so that
	// leases of the same port and peer can be told apart; two such leases of
	// different owners may be pending at once.
	ByOwner bool
	// Alike says how Identify works. Requests that trust the same and are not alike
	// never share a port, because a connection there is identified before anybody
	// knows for whom it is. It must be comparable.
	Alike any
	// MostUnknown is how many connections may be being identified at a time for
	// each lease of a port; more are refused. 0 is no limit.
	MostUnknown int
	// Refused is told why Identify has refused a connection of the peer that can
	// only have been meant for this lease. It is called with the pool locked. nil:
	// nobody.
	Refused func(error)
	// Hold keeps the key lent until the lease is closed, and takes the port
	// that this peer used least recently: for servers that dial from a fixed
	// port, where one port is one connection at a time. Without it the key is
	// free once the connection was accepted, and the port is random.
	Hold bool
}

// normal checks r and returns it with IPv4 addresses as such and the prefix masked.
func (r Request) normal() (Request, error) {
	if r.Ports.Len() == 0 {
		return r, fmt.Errorf("%w: ports %s", ErrRequest, r.Ports)
	}
	if !r.Local.IsValid() {
		return r, fmt.Errorf("%w: no local address", ErrRequest)
	}
	r.Local = r.Local.Unmap()
	if !r.Peer.IsValid() {
		return r, fmt.Errorf("%w: no peer", ErrRequest)
	}
	r.Peer = normalPrefix(r.Peer)
	var others []netip.Prefix
	for _, o := range r.Others {
		others = append(others, normalPrefix(o))
	}
	r.Others = others
	return r, nil
}

func normalPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// admits tells whether a connection from addr belongs to the lease.
func (r *Request) admits(addr netip.Addr) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(addr) }
	return contains(r.Peer) || slices.ContainsFunc(r.Others, contains)
}

// overlaps tells whether a connection may belong to both.
func (r *Request) overlaps(o *Request) bool {
	if r.Alike != o.Alike && r.sharesTrust(o) {
		return true
	}
	if r.ByOwner && o.ByOwner && r.Owner != o.Owner {
		return false
	}
	return o.meets(r.Peer) || slices.ContainsFunc(r.Others, o.meets)
}

// sharesTrust tells whether a connection may be identified for either.
func (r *Request) sharesTrust(o *Request) bool {
	return r.Identify != nil && o.Identify != nil && slices.ContainsFunc(r.Through, func(p netip.Prefix) bool {
		return slices.ContainsFunc(o.Through, p.Overlaps)
	})
}

func (r *Request) meets(p netip.Prefix) bool {
	return p.Overlaps(r.Peer) || slices.ContainsFunc(r.Others, p.Overlaps)
}

// Usage is how much of one range on one local address is in use.
type Usage struct {
	Local   netip.Addr
	Ports   Range
	Pending int // leases whose connection has not come
	Held    int // leases with Hold whose connection has come
	Waiting int // requests that wait for a port
}

// A Pool lends ports. It is keyed by address, so one pool serves any number of
// ranges, also such as overlap. Its methods may be called at the same time.
type Pool struct {
	listen  Listen
	events  Events
	spawn   Spawn
	running sync.WaitGroup // accept loops and the alarm's call

	mu          sync.Mutex
	closed      bool
	ports       map[netip.AddrPort]*port // only those that there is something to say about
	waiters     []*waiter                // first come first
	quarantines []*quarantine            // in the order in which they end
	busy        []busyPort               // in the order in which they end
	owned       map[uint64][]*quarantine // by owner, the oldest first
	untaken     map[*Lease]struct{}      // those whose connection waits for Accept
	unknown     map[net.Conn]*listening  // connections that are being identified, and where they came
	clock       uint64                   // counts the ends of leases with Hold
	alarm       *alarm                   // nil unless somebody waits for a time
}

// A port is what the pool knows of one address and port.
type port struct {
	addr        netip.AddrPort
	open        *listening // nil unless a lease is pending
	leases      []*Lease   // pending, or held; their peers do not overlap
	quarantines []*quarantine
	history     []use     // of leases with Hold
	busyUntil   time.Time // another program has it; zero if none
	busyCause   error
}

// New returns a pool without leases. events may be nil, and so may spawn: then
// accept loops are new goroutines.
func New(listen Listen, events Events, spawn Spawn) *Pool {
	if events == nil {
		events = NoEvents{}
	}
	if spawn == nil {
		spawn = func(f func()) { go f() }
	}
	return &Pool{
		listen:  listen,
		events:  events,
		spawn:   spawn,
		ports:   make(map[netip.AddrPort]*port),
		owned:   make(map[uint64][]*quarantine),
		untaken: make(map[*Lease]struct{}),
		unknown: make(map[net.Conn]*listening),
	}
}

// Snapshot tells what is in use now, ordered by address and range. It names
// only what has a lease or somebody waiting.
func (p *Pool) Snapshot() []Usage {
	type scope struct {
		local netip.Addr
		ports Range
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Usage
	index := make(map[scope]int)
	usage := func(r *Request) *Usage {
		s := scope{r.Local, r.Ports}
		i, ok := index[s]
		if !ok {
			i = len(all)
			index[s] = i
			all = append(all, Usage{Local: r.Local, Ports: r.Ports})
		}
		return &all[i]
	}
	for _, pt := range p.ports {
		for _, l := range pt.leases {
			if l.state == pending {
				usage(&l.request).Pending++
			} else {
				usage(&l.request).Held++
			}
		}
	}
	for _, w := range p.waiters {
		usage(&w.request).Waiting++
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(a.Local.Compare(b.Local), cmp.Compare(a.Ports.First, b.Ports.First), cmp.Compare(a.Ports.Last, b.Ports.Last))
	})
	return all
}

// Close ends every lease and every wait with ErrClosed, closes the listeners
// and the connections that nobody took, and waits for the pool's goroutines.
// Connections that were taken stay their callers'. Safe to repeat.
func (p *Pool) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		p.disarm()
		for _, w := range p.waiters {
			w.settle(nil, ErrClosed)
		}
		p.waiters = nil
		for _, pt := range p.ports {
			for _, l := range slices.Clone(pt.leases) {
				p.end(l, ErrClosed, time.Time{})
			}
		}
		for l := range p.untaken {
			p.end(l, ErrClosed, time.Time{})
		}
		for conn := range p.unknown {
			refuse(conn)
			delete(p.unknown, conn)
		}
		clear(p.ports)
		clear(p.owned)
		p.quarantines, p.busy = nil, nil
	}
	p.mu.Unlock()
	p.running.Wait()
	return nil
}
