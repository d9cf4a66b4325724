package portpool

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// Pauses of an accept loop that fails, doubled from the first to the last.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// A listening is an open listener and its accept loop.
type listening struct {
	port *port
	ln   net.Listener
	hold bool // it was opened for a lease with Hold
	// unknown is how many connections are being identified.
	unknown int
	closed  bool          // guarded by the pool's mutex
	quit    chan struct{} // closed with it, for a loop that pauses
}

// openPort begins to listen for a request, which others may join.
func (p *Pool) openPort(pt *port, r *Request) error {
	if o := p.overlapping(pt.addr); o.IsValid() {
		// The kernel may let both listen, and then prefers the single address.
		return fmt.Errorf("%w: %s: %w", errOverlap, o, syscall.EADDRINUSE)
	}
	ln, err := p.listen(pt.addr, r.Transparent)
	if err != nil {
		return err
	}
	o := &listening{port: pt, ln: ln, hold: r.Hold, quit: make(chan struct{})}
	pt.open = o
	p.running.Add(1)
	p.spawn(func() { p.acceptLoop(o) })
	return nil
}

// closeIdle stops listening on a port without pending leases. It is done with
// the pool locked, because the next lease may open the port again.
func (p *Pool) closeIdle(pt *port) {
	if pt.open == nil || slices.ContainsFunc(pt.leases, func(l *Lease) bool { return l.state == pending }) {
		return
	}
	pt.open.closed = true
	close(pt.open.quit)
	pt.open.ln.Close()
	for conn, o := range p.unknown { // Nobody waits for them any more.
		if o == pt.open {
			delete(p.unknown, conn)
			refuse(conn)
		}
	}
	pt.open = nil
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
			if !p.arrived(o, conn) {
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
	p.events.AcceptFailed(o.port.addr, err)
	if !errors.Is(err, net.ErrClosed) {
		return true
	}
	// Somebody else closed it; nothing will arrive any more.
	now := time.Now()
	for _, l := range slices.Clone(o.port.leases) {
		if l.state == pending {
			p.end(l, fmt.Errorf("%w: %s: %w", ErrBind, o.port.addr, err), now)
		}
	}
	p.arm(now)
	return false
}

// arrived gives a connection to the lease that it belongs to, or closes it if
// there is none. It reports whether the listener is still open.
func (p *Pool) arrived(o *listening, conn net.Conn) (open bool) {
	peer := peerOf(conn)
	p.mu.Lock()
	open = !o.closed
	lease, identify := o.leaseFor(peer), o.identifier(peer)
	if lease == nil && identify != nil {
		if most, bounded := o.mostUnknown(); bounded && o.unknown >= most {
			p.events.Stranger(o.port.addr, peer, o.hold)
			p.mu.Unlock()
			refuse(conn)
			return open
		}
		p.unknown[conn] = o
		o.unknown++
		p.running.Add(1)
		p.mu.Unlock()
		p.spawn(func() { p.identify(o, conn, identify) })
		return open
	}
	p.hand(o, lease, conn, peer)
	p.mu.Unlock()
	if lease == nil {
		refuse(conn)
	}
	return open
}

// identify finds out whose a connection is and does what arrived does.
func (p *Pool) identify(o *listening, conn net.Conn, identify func(net.Conn) (net.Conn, Identity, error)) {
	defer p.running.Done()
	through := peerOf(conn)
	known, who, err := identify(conn)
	who.Peer = who.Peer.Unmap().WithZone("")
	p.mu.Lock()
	_, ours := p.unknown[conn] // Otherwise it was refused meanwhile.
	if ours {
		delete(p.unknown, conn)
		o.unknown--
	}
	var lease *Lease
	if err == nil && ours {
		lease = o.leaseThrough(through, who)
		p.hand(o, lease, known, who.Peer)
	}
	if err != nil && ours {
		o.tellRefused(through, who.Peer, err)
	}
	p.mu.Unlock()
	if lease == nil && ours {
		refuse(conn)
	}
}

// hand delivers a connection, or tells of a stranger where there is no lease.
func (p *Pool) hand(o *listening, lease *Lease, conn net.Conn, peer netip.Addr) {
	if lease == nil {
		p.events.Stranger(o.port.addr, peer, o.hold)
		return
	}
	now := time.Now()
	p.deliver(lease, conn, now)
	p.arm(now)
}

// find is the first pending lease that fits.
func (o *listening) find(fits func(r *Request) bool) *Lease {
	if o.closed {
		return nil
	}
	for _, l := range o.port.leases {
		if l.state == pending && fits(&l.request) {
			return l
		}
	}
	return nil
}

// leaseFor is the pending lease that a peer's own connection belongs to.
func (o *listening) leaseFor(peer netip.Addr) *Lease {
	return o.find(func(r *Request) bool { return r.Identify == nil && r.admits(peer) })
}

// leaseThrough is the pending lease that a connection belongs to which was
// identified as this.
func (o *listening) leaseThrough(through netip.Addr, who Identity) *Lease {
	return o.find(func(r *Request) bool {
		return r.trusts(through) && r.admits(who.Peer) && (!r.ByOwner || r.Owner == who.Owner)
	})
}

// tellRefused tells the one for whom a connection of a peer must have been. Where
// there are several, one whose client is at fault must not cost the others theirs.
func (o *listening) tellRefused(through, peer netip.Addr, why error) {
	if o.closed {
		return
	}
	var candidates []*Lease
	for _, l := range o.port.leases {
		if l.state == pending && l.request.trusts(through) && l.request.admits(peer) {
			candidates = append(candidates, l)
		}
	}
	if len(candidates) == 1 && candidates[0].request.Refused != nil {
		candidates[0].request.Refused(why)
	}
}

// mostUnknown is how many connections may be being identified here, where all
// leases that wait have a bound.
func (o *listening) mostUnknown() (most int, bounded bool) {
	for _, l := range o.port.leases {
		if l.state == pending && l.request.Identify != nil {
			if l.request.MostUnknown == 0 {
				return 0, false
			}
			most += l.request.MostUnknown
		}
	}
	return most, true
}

// identifier is how a connection is identified: as by a lease that trusts where it
// comes from, or, to be refused, as by any other. nil: no lease wants that.
func (o *listening) identifier(through netip.Addr) func(net.Conn) (net.Conn, Identity, error) {
	l := o.find(func(r *Request) bool { return r.trusts(through) })
	if l == nil {
		l = o.find(func(r *Request) bool { return r.Identify != nil })
	}
	if l == nil {
		return nil
	}
	return l.request.Identify
}

// trusts tells whether connections from addr are identified for the lease.
func (r *Request) trusts(addr netip.Addr) bool {
	return r.Identify != nil && slices.ContainsFunc(r.Through, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// peerOf tells whose connection it is. Everything that decides by the peer
// asks here, because behind a PROXY header the socket's address is not the
// peer's. An address that cannot be read is invalid and in no prefix.
func peerOf(conn net.Conn) netip.Addr {
	var addr netip.Addr
	switch a := conn.RemoteAddr().(type) {
	case nil:
	case *net.TCPAddr:
		addr = a.AddrPort().Addr()
	default:
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			addr = ap.Addr()
		}
	}
	return addr.Unmap().WithZone("")
}

// refuse closes a stranger's connection with a reset, so that it is not taken
// for the end of an empty file, and leaves no TIME_WAIT behind.
func refuse(conn net.Conn) {
	if c, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS would say goodbye.
		refuse(c.NetConn())
	}
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
	conn.Close()
}
