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
	l := &fakeListener{network: n, addr: addr, conns: make(chan *fakeConn, 16), quit: make(chan struct{})}
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
	c := &fakeConn{remote: &net.TCPAddr{IP: from.AsSlice(), Zone: from.Zone(), Port: 1024 + len(n.conns)}}
	n.conns = append(n.conns, c)
	l.conns <- c
	return c
}

type fakeListener struct {
	network *fakeNetwork
	addr    netip.AddrPort
	conns   chan *fakeConn
	quit    chan struct{}

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
	case <-l.quit:
		return nil, net.ErrClosed
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
	remote net.Addr

	mu     sync.Mutex
	closed int
	linger bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }

func (c *fakeConn) SetLinger(int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = true
	return nil
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
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
func (c *count) Expired(Request)                           { c.add("expired") }
func (c *count) Stranger(netip.AddrPort, netip.Addr, bool) { c.add("stranger") }
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
		b.pool = New(b.net.listen, b.events, nil)
		defer b.pool.Close() // also after Fatal, so that the bubble tells only what failed
		test(b)
		b.pool.Close()
		if open := b.net.listening(); len(open) > 0 {
			t.Errorf("ports %v listen after Pool.Close", open)
		}
		if l, r := b.events.get("leased"), b.events.get("returned"); l != r {
			t.Errorf("%d leased, %d returned", l, r)
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
	if l, err := t.try(r); !errors.Is(err, ErrFull) {
		t.Fatalf("%v: Lease(%v) = %v, %v; want ErrFull", t.at(), r, l, err)
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

// use connects and accepts.
func (t *bench) use(l *Lease) {
	t.Helper()
	c := t.mustDial(l.request.Peer, l)
	if got, err := l.Accept(context.Background()); got != net.Conn(c) || err != nil {
		t.Fatalf("%v: Accept = %v, %v; want the peer's connection", t.at(), got, err)
	}
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
		t.Errorf("%s; want %s", got, want)
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
	owned, quarantined := 0, 0
	for _, q := range t.pool.owned {
		owned += len(q)
	}
	for _, q := range t.pool.quarantines {
		if q.owner != 0 {
			quarantined++
		}
	}
	if owned != quarantined {
		t.Errorf("%v: owners have %d quarantines of %d", t.at(), owned, quarantined)
	}
	if len(t.pool.waiters) > 0 || len(t.pool.untaken) > 0 {
		t.Errorf("%v: %d wait, %d connections are untaken", t.at(), len(t.pool.waiters), len(t.pool.untaken))
	}
}
