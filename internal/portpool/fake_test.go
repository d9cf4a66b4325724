package portpool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeNetwork is what a pool listens on under a fake clock.
type fakeNetwork struct {
	mu      sync.Mutex
	open    map[netip.AddrPort]*fakeListener
	fail    map[uint16]error // what listening on a port returns
	listens []netip.AddrPort // every attempt
	conns   []*fakeConn
}

func newFakeNetwork() *fakeNetwork {
	return &fakeNetwork{open: make(map[netip.AddrPort]*fakeListener), fail: make(map[uint16]error)}
}

func (n *fakeNetwork) listen(addr netip.AddrPort, _ bool) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listens = append(n.listens, addr)
	if err := n.fail[addr.Port()]; err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	if n.open[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	l := &fakeListener{network: n, addr: addr, conns: make(chan *fakeConn, 4096), quit: make(chan struct{}), wake: make(chan struct{})}
	n.open[addr] = l
	return l, nil
}

func (n *fakeNetwork) setFail(err error, ports ...uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range ports {
		n.fail[p] = err
	}
}

// attempts returns the listens since the last call.
func (n *fakeNetwork) attempts() []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.listens
	n.listens = nil
	return a
}

// listening returns the ports that are open.
func (n *fakeNetwork) listening() []uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ports []uint16
	for a := range n.open {
		ports = append(ports, a.Port())
	}
	slices.Sort(ports)
	return ports
}

func (n *fakeNetwork) listener(addr netip.AddrPort) *fakeListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open[addr]
}

// dial puts a connection into the backlog of addr, or returns nil: refused.
func (n *fakeNetwork) dial(from netip.Addr, addr netip.AddrPort) *fakeConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.open[addr]
	if l == nil {
		return nil
	}
	c := newConn(from, addr, 1024+len(n.conns)%60000, time.Now())
	n.conns = append(n.conns, c)
	l.conns <- c
	return c
}

func newConn(from netip.Addr, to netip.AddrPort, port int, born time.Time) *fakeConn {
	return &fakeConn{
		remote: &net.TCPAddr{IP: from.AsSlice(), Zone: from.Zone(), Port: port},
		local:  net.TCPAddrFromAddrPort(to), born: born,
		gone: make(chan struct{}), says: make(chan uint64, 1),
	}
}

type fakeListener struct {
	network *fakeNetwork
	addr    netip.AddrPort
	conns   chan *fakeConn
	quit    chan struct{}
	wake    chan struct{} // makes Accept stand still

	mu      sync.Mutex
	fail    error // of Accept, until it is reset
	accepts int
}

func (l *fakeListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.accepts++
	err := l.fail
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-l.quit:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.wake:
	case <-l.quit:
	}
	<-l.quit
	return nil, net.ErrClosed
}

// Queued is what Options.Listen says.
func (l *fakeListener) Queued() (all []net.Conn) {
	for {
		select {
		case c := <-l.conns:
			all = append(all, c)
		default:
			return all
		}
	}
}

func (l *fakeListener) Close() error {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.network.open[l.addr] != l {
		panic("listener closed twice")
	}
	delete(l.network.open, l.addr)
	close(l.quit)
	for { // The kernel resets what is in the backlog.
		select {
		case c := <-l.conns:
			c.Close()
		default:
			return nil
		}
	}
}

func (l *fakeListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// setFail returns how often Accept was called before.
func (l *fakeListener) setFail(err error) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
	return l.accepts
}

type fakeConn struct {
	net.Conn
	remote, local net.Addr
	born          time.Time
	gone          chan struct{} // closed when it is
	says          chan uint64   // what it sends

	mu     sync.Mutex
	closed int
	linger bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }
func (c *fakeConn) LocalAddr() net.Addr  { return c.local }

// bornOf is Options.Born for fakes.
func bornOf(conn net.Conn) time.Time { return conn.(*fakeConn).born }

func (c *fakeConn) SetLinger(int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = true
	return nil
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed++; c.closed == 1 {
		close(c.gone)
	}
	return nil
}

func (c *fakeConn) closes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// count counts events.
type count struct {
	mu sync.Mutex
	n  map[string]int
}

func newCount() *count { return &count{n: make(map[string]int)} }

func (c *count) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

func (c *count) get(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

func (c *count) Leased(Request) { c.add("leased") }
func (c *count) Returned(_ Request, used bool) {
	c.add("returned")
	if used {
		c.add("used")
	}
}
func (c *count) Waiting(Request)                           { c.add("waiting") }
func (c *count) Full(Request)                              { c.add("full") }
func (c *count) Evicted(Request)                           { c.add("evicted") }
func (c *count) Stranger(netip.AddrPort, netip.Addr, bool) { c.add("stranger") }
func (c *count) Late(netip.AddrPort, netip.Addr)           { c.add("late") }
func (c *count) Crowded(netip.AddrPort, netip.Addr)        { c.add("crowded") }
func (c *count) Ambiguous(netip.AddrPort, netip.Addr)      { c.add("ambiguous") }
func (c *count) Busy(netip.AddrPort, error)                { c.add("busy") }
func (c *count) AcceptFailed(netip.AddrPort, error)        { c.add("accept failed") }

// A bench is a pool on a fake network in a synctest bubble.
type bench struct {
	*testing.T
	pool   *Pool
	net    *fakeNetwork
	events *count
	start  time.Time
}

// onFakes runs a test under a fake clock. When it ends, the pool is closed and
// nothing may be left: the bubble itself fails on a goroutine that stays.
func onFakes(t *testing.T, test func(t *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, net: newFakeNetwork(), events: newCount(), start: time.Now()}
		b.pool = New(Options{Listen: b.net.listen, Born: bornOf, Events: b.events})
		defer b.pool.Close() // also after Fatal, so that the bubble tells only what failed
		test(b)
		b.pool.Close()
		if open := b.net.listening(); len(open) > 0 {
			t.Errorf("ports %v listen after Pool.Close", open)
		}
		if l, r := b.events.get("leased"), b.events.get("returned"); l != r {
			t.Errorf("%d leased, %d returned", l, r)
		}
		if n := b.events.get("ambiguous"); n > 0 {
			t.Errorf("%d connections were ambiguous", n)
		}
		for _, c := range b.net.conns {
			if c.closes() > 1 {
				t.Errorf("connection from %v was closed %d times", c.remote, c.closes())
			}
		}
	})
}

var (
	local = netip.MustParseAddr("192.0.2.1")
	alice = netip.MustParsePrefix("198.51.100.1/32")
	bob   = netip.MustParsePrefix("198.51.100.2/32")
)

func (t *bench) at() time.Duration { return time.Since(t.start) }

// pass lets the fake clock run, and everything that is due happen.
func (t *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func ask(ports Range, peer netip.Prefix, owner uint64) Request {
	return Request{Local: local, Ports: ports, Peer: peer, Owner: owner}
}

// try leases without waiting.
func (t *bench) try(r Request) (*Lease, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return t.pool.Lease(ctx, r)
}

func (t *bench) must(r Request) *Lease {
	t.Helper()
	l, err := t.try(r)
	if err != nil {
		t.Fatalf("%v: Lease(%v): %v", t.at(), r, err)
	}
	return l
}

func (t *bench) mustFull(r Request) {
	t.Helper()
	l, err := t.try(r)
	switch {
	case err == nil:
		t.Fatalf("%v: lent %v to owner %d of %v; want ErrFull", t.at(), l.Addr(), r.Owner, r.Peer)
	case !errors.Is(err, ErrFull):
		t.Fatalf("%v: %v; want ErrFull", t.at(), err)
	}
}

func (t *bench) mustDial(from netip.Prefix, l *Lease) *fakeConn {
	t.Helper()
	c := t.net.dial(from.Addr(), l.Addr())
	if c == nil {
		t.Fatalf("%v: %v does not listen", t.at(), l.Addr())
	}
	synctest.Wait()
	return c
}

// promised is a lease whose address the peer was told.
func (t *bench) promised(r Request) *Lease {
	t.Helper()
	l := t.must(r)
	l.promise()
	return l
}

// use connects and accepts.
func (t *bench) use(l *Lease) {
	t.Helper()
	l.promise()
	c := t.mustDial(l.request.Peer, l)
	if got, err := l.Accept(context.Background()); got != net.Conn(c) || err != nil {
		t.Fatalf("%v: Accept = %v, %v; want the peer's connection", t.at(), got, err)
	}
}

// mustLate dials a port that listens for another, and wants the pool to take the
// connection for one that was missing.
func (t *bench) mustLate(from netip.Prefix, open *Lease) {
	t.Helper()
	before := t.events.get("late")
	c := t.mustDial(from, open)
	if n := t.events.get("late") - before; n != 1 || c.closes() != 1 || !c.linger {
		t.Errorf("%v: %d late, closed %d times, reset %v; want one reset", t.at(), n, c.closes(), c.linger)
	}
}

// mustFreeAt fails unless the key of r, which is not free, is lent from at on.
func (t *bench) mustFreeAt(r Request, at time.Duration) {
	t.Helper()
	t.pass(at - 1 - t.at())
	t.mustFull(r)
	t.pass(1)
	t.must(r).Close()
}

// A wait is a Lease that runs beside the test.
type wait struct {
	done   chan struct{}
	cancel context.CancelFunc
	lease  *Lease
	err    error
	after  time.Duration
}

func (t *bench) wait(r Request, limit time.Duration) *wait {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	w := &wait{done: make(chan struct{}), cancel: cancel}
	go func() {
		defer cancel()
		defer close(w.done)
		w.lease, w.err = t.pool.Lease(ctx, r)
		w.after = t.at()
	}()
	synctest.Wait()
	return w
}

func (w *wait) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// result waits for the end of the wait.
func (w *wait) result() string {
	<-w.done
	switch {
	case w.err == nil:
		return fmt.Sprintf("lent at %v", w.after)
	case errors.Is(w.err, ErrFull):
		return fmt.Sprintf("full at %v", w.after)
	case errors.Is(w.err, ErrBind):
		return fmt.Sprintf("not bound at %v", w.after)
	}
	return fmt.Sprintf("%v at %v", w.err, w.after)
}

func (t *bench) want(w *wait, want string) {
	t.Helper()
	if got := w.result(); got != want {
		t.Fatalf("%s; want %s", got, want)
	}
}

// mustRest fails unless nothing listens and no timer runs.
func (t *bench) mustRest() {
	t.Helper()
	synctest.Wait()
	if open := t.net.listening(); len(open) > 0 {
		t.Errorf("%v: ports %v listen", t.at(), open)
	}
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if t.pool.alarm != nil {
		t.Errorf("%v: a timer is set for %v", t.at(), t.pool.alarm.at.Sub(t.start))
	}
	if n := len(t.pool.numbers); n > 0 {
		t.Errorf("%v: %d ports are remembered", t.at(), n)
	}
	if len(t.pool.queues.cells) > 0 || t.pool.waiting != 0 || t.pool.blocked != 0 || len(t.pool.untaken) > 0 || len(t.pool.headers) > 0 {
		t.Errorf("%v: %d wait, %d of them blocked, %d connections are untaken, %d proxies have guests",
			t.at(), t.pool.waiting, t.pool.blocked, len(t.pool.untaken), len(t.pool.headers))
	}
	for i, list := range t.pool.cooling {
		if len(list) > 0 {
			t.Errorf("%v: %d cool in list %d", t.at(), len(list), i)
		}
	}
	for k, s := range t.pool.scopes {
		if s.idle == nil {
			t.Errorf("%v: scope %v is not idle", t.at(), k)
		}
	}
}

// deafen makes the accept loop stand still, with nothing in its hands.
func (l *fakeListener) deafen(t *bench) {
	t.Helper()
	select {
	case l.wake <- struct{}{}:
	case <-l.quit:
	}
	synctest.Wait()
}

// quietNetwork has listeners that nobody connects to, and remembers nothing.
type quietNetwork struct{}

func (*quietNetwork) listen(netip.AddrPort, bool) (net.Listener, error) { return make(nowhere), nil }

// nowhere is a listener that nobody connects to.
type nowhere chan struct{}

func (n nowhere) Accept() (net.Conn, error) { <-n; return nil, net.ErrClosed }
func (n nowhere) Close() error              { close(n); return nil }
func (n nowhere) Addr() net.Addr            { return nil }
