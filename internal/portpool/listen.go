package portpool

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"ftproxy/internal/tcp"
)

// Pauses of an accept loop that fails, doubled from the first to the last.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// A listening is an open listener and its accept loop.
type listening struct {
	port     *port
	ln       net.Listener
	hold     bool // it was opened for a lease with Hold
	closed   bool // guarded by the pool's mutex
	quit     chan struct{}
	unproven map[netip.Addr][]*guest // whose owner is not known yet, the oldest first
	headed   map[*guest]struct{}     // whose header is awaited
}

// openPort begins to listen for a request, which others may join.
func (p *Pool) openPort(pt *port, r *Request) error {
	if o := p.overlapping(pt.addr); o.IsValid() {
		return fmt.Errorf("%w: %s: %w", errOverlap, o, syscall.EADDRINUSE)
	}
	ln, err := p.Listen(pt.addr, r.Transparent)
	if err != nil {
		return err
	}
	o := &listening{
		port: pt, ln: ln, hold: r.Hold, quit: make(chan struct{}),
		unproven: make(map[netip.Addr][]*guest), headed: make(map[*guest]struct{}),
	}
	pt.open = o
	p.running.Add(1)
	p.Spawn(func() { p.acceptLoop(o) })
	return nil
}

// closeIdle is called when l is no longer pending. If no other lease is pending on l's
// port, it stops listening there; otherwise it sends away the unproven guests
// of l's peer, where that peer has no other lease that they could be for.
// It is done with the pool locked, because the next lease may open the port again.
func (p *Pool) closeIdle(l *Lease, now time.Time) {
	pt := l.port
	o := pt.open
	if o == nil {
		return
	}
	if pt.pending > 0 {
		p.dismissUnproven(o, &l.request)
		return
	}
	pt.open, o.closed = nil, true
	close(o.quit)
	if p.missesAny(pt) {
		p.drain(o, now)
	}
	o.ln.Close() // The kernel resets what is in its queue.
	for g := range o.headed {
		p.sendAway(g)
	}
	for _, guests := range o.unproven {
		for _, g := range slices.Clone(guests) {
			p.sendAway(g)
		}
	}
}

// missesAny tells whether a key of the port, or of one that takes connections for the same
// address (sharing), is not free: then a connection in the queue may be the one that was
// missing for that key.
func (p *Pool) missesAny(pt *port) bool {
	return !p.sharing(pt.addr, func(at *port) bool { return len(at.leases) == 0 })
}

// drain accepts what is in a listener's queue.
func (p *Pool) drain(o *listening, now time.Time) {
	for _, conn := range queued(o.ln) {
		p.arrive(o, conn, p.Born(conn), now)
	}
}

func queued(ln net.Listener) []net.Conn {
	if q, ok := ln.(interface{ Queued() []net.Conn }); ok {
		return q.Queued()
	}
	return nil
}

// acceptLoop accepts until the listener is closed. A failure (too many open
// files) makes it pause; the leases stay.
func (p *Pool) acceptLoop(o *listening) {
	defer p.running.Done()
	var pause time.Duration
	for {
		conn, err := o.ln.Accept()
		if err == nil {
			pause = 0
			if !p.accepted(o, conn) {
				return
			}
			continue
		}
		if !p.acceptFailed(o, err) {
			return
		}
		pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-o.quit:
			timer.Stop()
			return
		}
	}
}

// acceptFailed reports whether the loop shall try again.
func (p *Pool) acceptFailed(o *listening, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.closed {
		return false
	}
	p.Events.AcceptFailed(o.port.addr, err)
	if !errors.Is(err, net.ErrClosed) {
		return true
	}
	// Somebody else closed it; nothing will arrive any more.
	now := time.Now()
	for l := range o.port.leases {
		if l.pending() {
			p.end(l, fmt.Errorf("%w: %s: %w", ErrBind, o.port.addr, err), now)
		}
	}
	p.finish(now)
	return false
}

// accepted takes a connection that the accept loop has. It reports whether the
// listener is still open.
func (p *Pool) accepted(o *listening, conn net.Conn) (open bool) {
	born := p.Born(conn)
	p.mu.Lock()
	defer p.mu.Unlock()
	open = !o.closed
	now := time.Now()
	p.arrive(o, conn, born, now)
	p.finish(now)
	return open && !o.closed
}

// arrive gives a connection to the lease that it belongs to, has it identified,
// or resets it if there is none.
func (p *Pool) arrive(o *listening, conn net.Conn, born, now time.Time) {
	v := visit{conn: conn, to: addrOf(conn.LocalAddr()), peer: addrOf(conn.RemoteAddr()), born: born}
	if p.closed {
		tcp.Reset(conn)
		return
	}
	if o.closed { // It is older than every lease that is pending now.
		p.turnAway(o, v, 0, now)
		return
	}
	if read := o.headerOf(v.peer); read != nil {
		p.awaitHeader(o, v, read)
		return
	}
	p.meet(o, v, now)
}

// headerOf is how the header of a connection from addr is read; nil: it is to have none.
func (o *listening) headerOf(addr netip.Addr) func(net.Conn) (net.Conn, netip.Addr, error) {
	for _, c := range o.port.classes {
		if c.pending > 0 && tcp.Within(c.through, addr) {
			return c.header
		}
	}
	return nil
}

// A visit is a connection whose peer is known.
type visit struct {
	conn    net.Conn
	to      netip.Addr // where it came to
	peer    netip.Addr
	through netip.Addr // who brought its header; invalid: it has none
	born    time.Time
}

// fits tells whether the connection, of a peer of the lease, may be the lease's.
func (v *visit) fits(l *Lease) bool {
	return l.key == promised && v.since(l) && v.cameFor(l)
}

// cameTo tells whether the lease's address is where the connection came to; a wildcard
// is every address.
func (v *visit) cameTo(l *Lease) bool {
	at := l.port.addr.Addr()
	return at.IsUnspecified() || v.to == at || !v.to.IsValid()
}

// since tells whether the connection was opened after the lease's promise.
func (v *visit) since(l *Lease) bool { return !v.born.Before(l.promised.Add(-slack)) }

// cameFor tells whether the connection came in the way that the lease wants.
func (v *visit) cameFor(l *Lease) bool {
	if v.through.IsValid() {
		return l.request.trusts(v.through)
	}
	return l.request.Header == nil
}

// meet gives a connection of a known peer to the lease that it belongs to.
func (p *Pool) meet(o *listening, v visit, now time.Time) {
	var mine []*Lease
	var prove func(net.Conn) (net.Conn, uint64, error)
	due := 0
	o.port.keys.containing(v.peer, func(c *cell) bool {
		for _, l := range c.plain {
			if v.fits(l) && !slices.Contains(mine, l) { // It may be filed twice.
				mine = append(mine, l)
			}
		}
		if l := c.owing(&v); l != nil {
			prove, due = l.request.Prove, due+c.pendingOwned
		}
		return true
	})
	switch {
	case len(mine) == 0 && prove != nil:
		p.awaitProof(o, v, prove, due)
	case len(mine) == 1 && prove == nil:
		p.deliver(mine[0], v.conn, now)
	case len(mine) > 0:
		p.ambiguous(o, mine, v, now)
	default:
		p.turnAway(o, v, 0, now)
	}
}

// ambiguous ends leases that one connection fits. Nobody gets it.
func (p *Pool) ambiguous(o *listening, leases []*Lease, v visit, now time.Time) {
	p.Events.Ambiguous(o.port.addr, v.peer)
	for _, l := range leases {
		p.end(l, ErrAmbiguous, now)
	}
	tcp.Reset(v.conn)
}

// turnAway resets a connection that no pending lease wants. It may be one that
// was missing: of the owner, where that is known.
func (p *Pool) turnAway(o *listening, v visit, owner uint64, now time.Time) {
	var missing []*Lease
	add := func(l *Lease) {
		if l != nil && (l.key == cooling || l.key == withheld) && v.since(l) && v.cameFor(l) && v.cameTo(l) && !slices.Contains(missing, l) {
			missing = append(missing, l)
		}
	}
	p.sharing(o.port.addr, func(pt *port) bool {
		return pt.keys.containing(v.peer, func(c *cell) bool {
			for _, l := range c.plain {
				add(l)
			}
			add(c.owned[owner])
			return true
		})
	})
	for _, l := range missing {
		p.late(l, now)
	}
	if len(missing) > 0 {
		p.Events.Late(o.port.addr, v.peer)
	} else {
		for l := range o.port.leases {
			if o.hold && l.pending() {
				l.away = v.peer
			}
		}
		p.Events.Stranger(o.port.addr, v.peer, o.hold)
	}
	tcp.Reset(v.conn)
}

// addrOf is an address of a connection, without the zone, as the networks of requests
// have none. One that cannot be read is invalid and in no network.
func addrOf(a net.Addr) netip.Addr { return tcp.AddrPort(a).Addr().WithZone("") }
