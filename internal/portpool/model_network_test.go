package portpool

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// synTimes is when a kernel sends the SYNs of an attempt, and synAckTimes when it
// answers one; finTimes is when a FIN is sent again.
var (
	synTimes    = []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second}
	synAckTimes = []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second}
	finTimes    = []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1400 * time.Millisecond, 3 * time.Second}
)

// An attempt is what a peer does to connect. It is tagged with the promise that it is
// for; nil: a stranger's.
type attempt struct {
	*world
	promise  *promise
	from     netip.Addr
	to       netip.AddrPort
	deadline time.Time  // no SYN arrives after it; zero: none
	proxied  netip.Addr // who brings it, behind a proxy; invalid: the client
	foreign  bool       // it is somebody else's: it may last for Long after the promise
	relay    bool       // somebody between dials, up to lag late
	redials  int        // how often that one tries again, a second after a failure
	failed   func()     // is told that it was refused or reset
	up       func()

	dialled, established, over bool
	gone                       bool // the side that connects has no socket any more
	conn                       *modelConn
}

// lag is how long relays follow after their clients; a bit less than Short.
const lag = Short - 100*time.Millisecond

func (a *attempt) String() string {
	if a.promise == nil {
		return "a stranger's connection"
	}
	return fmt.Sprintf("connection of %v to %v", a.promise, a.to)
}

// open begins to connect.
func (a *attempt) open() {
	a.tally.attempts++
	var d time.Duration
	if a.relay {
		if d = a.span(lag); a.chance(50) {
			d = a.span(50 * time.Millisecond)
		}
	}
	a.note("%v begins", a)
	a.after(d, a.dial)
}

// dial sends the SYNs, of the peer itself or of a relay.
func (a *attempt) dial() {
	if a.gone {
		return
	}
	a.dialled = true
	for _, d := range synTimes {
		a.after(d, func() {
			if !a.established && !a.gone && !a.lost(15) {
				a.after(a.delay(), a.syn)
			}
		})
	}
	a.after(63*time.Second, func() {
		if !a.established && !a.gone {
			a.fail("timed out")
		}
	})
}

// lost tells whether a packet is.
func (a *attempt) lost(percent int) bool { return a.chance(percent) }

// close ends the attempt. A relay follows later.
func (a *attempt) close() {
	if a.over {
		return
	}
	a.over = true
	a.note("%v is closed by its peer", a)
	if !a.relay && a.redials == 0 {
		a.hangUp()
		return
	}
	if end := time.Now().Add(lag); a.deadline.IsZero() || end.Before(a.deadline) {
		a.deadline = end
	}
	a.after(a.span(lag), a.hangUp)
}

// hangUp closes the socket that connects.
func (a *attempt) hangUp() {
	if a.gone {
		return
	}
	a.gone = true
	if !a.established {
		return
	}
	conn := a.conn
	for _, d := range finTimes {
		a.after(d, func() {
			if !a.lost(15) {
				a.after(a.delay(), conn.finish)
			}
		})
	}
}

// fail tells the peer that its attempt is over.
func (a *attempt) fail(why string) {
	if a.gone {
		return
	}
	a.gone = true
	if a.redials > 0 && (a.deadline.IsZero() || time.Now().Before(a.deadline)) {
		a.note("%v failed: %s; the relay tries again", a, why)
		a.redials--
		a.established, a.gone, a.conn = false, false, nil
		a.tally.redials++
		a.after(time.Second, a.dial)
		return
	}
	if a.over {
		return
	}
	a.over = true
	a.note("%v failed: %s", a, why)
	if a.failed != nil {
		a.failed()
	}
}

// syn is a SYN that arrives.
func (a *attempt) syn() {
	if p := a.promise; a.foreign && (!p.told.IsZero() || !p.moved.IsZero()) {
		if at, _ := p.endsAt(false); !time.Now().Before(at.Add(-100 * time.Millisecond)) {
			return // Its age has a slack.
		}
	}
	if !a.deadline.IsZero() && time.Now().After(a.deadline) {
		return // It is assumed that this does not happen.
	}
	if a.conn != nil && !a.conn.dropped {
		a.conn.answer()
		return
	}
	if a.established {
		return
	}
	a.mu.Lock()
	ln := a.listeners[a.to]
	if ln == nil {
		ln = a.listeners[netip.AddrPortFrom(netip.IPv4Unspecified(), a.to.Port())]
	}
	a.mu.Unlock()
	if ln == nil {
		if p := a.promise; p != nil && p.waits() {
			a.fault("who connects in time is served", "%v is refused", a)
		}
		a.after(a.delay(), func() {
			if !a.established {
				a.fail("refused")
			}
		})
		return
	}
	now := time.Now()
	c := &modelConn{
		attempt: a, ln: ln, born: now, looksBorn: now.Add(a.span(20*time.Millisecond) - 10*time.Millisecond),
		remote: &net.TCPAddr{IP: a.from.AsSlice(), Port: 1024 + len(a.conns)%60000}, local: net.TCPAddrFromAddrPort(a.to),
	}
	if a.chance(10) {
		c.acceptStall = a.span(10 * time.Second)
	}
	if a.chance(20) {
		c.headerStall = a.span(10 * time.Second)
	}
	if a.chance(20) {
		c.proveStall = a.span(10 * time.Second)
	}
	a.conn = c
	a.conns = append(a.conns, c)
	c.inTime = a.promise != nil && a.promise.waits()
	for _, d := range synAckTimes {
		a.after(d, func() {
			if !c.queued && !c.dropped {
				c.answer()
			}
		})
	}
	a.after(15*time.Second, func() {
		if !c.queued {
			c.dropped = true
		}
	})
}

// A modelConn is the server's side of an attempt.
type modelConn struct {
	net.Conn
	*attempt
	ln              *modelListener
	born, looksBorn time.Time
	remote, local   net.Addr

	queued, dropped, ended bool
	inTime                 bool // its SYN came while its session waited for it
	taken                  bool // by a session

	acceptStall, headerStall, proveStall time.Duration

	lock    sync.Mutex
	closed  int
	reached bool // the pool has it
}

func (c *modelConn) String() string       { return c.attempt.String() }
func (c *modelConn) RemoteAddr() net.Addr { return c.remote }
func (c *modelConn) LocalAddr() net.Addr  { return c.local }
func (c *modelConn) SetLinger(int) error  { return nil }

// answer sends a SYN-ACK.
func (c *modelConn) answer() {
	if c.lost(15) {
		return
	}
	c.after(c.delay(), func() {
		a := c.attempt
		if a.conn != c || a.gone && !a.established {
			a.after(a.delay(), func() { c.dropped = true }) // A socket that is closed answers with RST.
			return
		}
		if !a.established {
			a.established = true
			if a.over { // Only the relay is left.
				a.after(a.span(50*time.Millisecond), a.hangUp)
			}
			if a.up != nil && !a.over {
				a.up()
			}
		}
		if !c.lost(20) {
			a.after(a.delay(), c.enqueue)
		}
	})
}

// enqueue puts the connection into the listener's queue: its ACK has come.
func (c *modelConn) enqueue() {
	if c.queued || c.dropped {
		return
	}
	c.queued = true
	c.mu.Lock()
	open := !c.ln.closed
	if open {
		c.ln.queue = append(c.ln.queue, c)
	}
	c.mu.Unlock()
	if !open {
		c.dropped = true
		c.after(c.delay(), func() { c.fail("reset") })
		return
	}
	c.ln.ring()
}

// finish is a FIN that arrives; it acknowledges, too.
func (c *modelConn) finish() {
	c.ended = true
	c.enqueue()
}

// Close is a reset, by the pool or by the session that took it.
func (c *modelConn) Close() error {
	c.lock.Lock()
	c.closed++
	c.reached = true
	c.lock.Unlock()
	c.post(0, c.wasClosed)
	return nil
}

func (c *modelConn) closes() int {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.closed
}

func (c *modelConn) wasClosed() {
	if p := c.promise; c.taken && c.redials > 0 && p != nil && !p.heard && time.Since(p.takenAt) < lag {
		// The relay has not seen yet that it was connected. Its client is, and does not try again.
		c.failed = nil
		if end := time.Now().Add(lag); c.deadline.IsZero() || end.Before(c.deadline) {
			c.deadline = end
		}
		c.after(c.delay(), func() { c.fail("reset") })
		return
	}
	if c.taken {
		c.after(c.delay(), func() { c.attempt.gone = true })
		return
	}
	c.tally.reset++
	c.note("%v is reset", c)
	if p := c.promise; p != nil {
		p.wasReset(c)
	}
	c.after(c.delay(), func() { c.fail("reset") })
}

// header and prove identify a connection, some time later.
func (c *modelConn) header() (net.Conn, netip.Addr, error) {
	time.Sleep(c.headerStall)
	if c.closes() > 0 || c.promise == nil {
		return nil, netip.Addr{}, errors.New("no header")
	}
	if c.proxied.IsValid() {
		return c, c.proxied, nil
	}
	return c, c.promise.session.from, nil
}

func (c *modelConn) prove() (net.Conn, uint64, error) {
	time.Sleep(c.proveStall)
	if c.closes() > 0 || c.promise == nil {
		return nil, 0, errNotProven
	}
	return c, c.promise.request.Owner, nil
}

// A modelListener is a listener of the world.
type modelListener struct {
	*world
	addr   netip.AddrPort
	queue  []*modelConn // guarded by world.mu, as closed
	closed bool
	ready  chan struct{}
	quit   chan struct{}
}

func (w *world) listen(addr netip.AddrPort, _ bool) (net.Listener, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for other := range w.listeners {
		if other.Port() == addr.Port() && (other.Addr() == addr.Addr() || other.Addr().IsUnspecified() || addr.Addr().IsUnspecified()) {
			return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
		}
	}
	l := &modelListener{world: w, addr: addr, ready: make(chan struct{}, 1), quit: make(chan struct{})}
	w.listeners[addr] = l
	return l, nil
}

func (l *modelListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

func (l *modelListener) ring() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// Accept gives a connection to the pool, which may stand still in between.
func (l *modelListener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		switch {
		case l.closed:
			l.mu.Unlock()
			return nil, net.ErrClosed
		case len(l.queue) > 0:
			c := l.queue[0]
			l.queue = l.queue[1:]
			l.mu.Unlock()
			time.Sleep(c.acceptStall)
			c.reach()
			return c, nil
		}
		l.mu.Unlock()
		select {
		case <-l.ready:
		case <-l.quit:
		}
	}
}

func (c *modelConn) reach() {
	c.lock.Lock()
	c.reached = true
	c.lock.Unlock()
}

// Queued is what Options.Listen says.
func (l *modelListener) Queued() (all []net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.queue {
		c.reach()
		all = append(all, c)
	}
	l.queue = nil
	return all
}

func (l *modelListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listeners, l.addr)
	l.closed = true
	close(l.quit)
	for _, c := range l.queue { // The kernel resets them.
		l.posted = append(l.posted, posted{0, func() {
			c.dropped = true
			c.after(c.delay(), func() { c.fail("reset") })
		}})
	}
	l.queue = nil
	return nil
}
