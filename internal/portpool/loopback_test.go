package portpool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Tests on real loopback sockets.

// patience bounds every wait of a test. It is there to end one that hangs: the
// machine may stand still for seconds.
const patience = time.Minute

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	peerA    = netip.MustParsePrefix("127.0.0.2/32")
	peerB    = netip.MustParsePrefix("127.0.0.3/32")
)

func listenTCP(addr netip.AddrPort, _ bool) (net.Listener, error) {
	return net.Listen("tcp", addr.String())
}

// realPool has no goroutine left when the test ends.
func realPool(t testing.TB, events Events) *Pool {
	t.Helper()
	p := New(Options{Listen: listenTCP, Events: events})
	t.Cleanup(func() { p.Close() })
	return p
}

// freeRange finds n neighbouring ports that nobody listens on just now, below
// the ephemeral ports, so that no dial of another test takes one.
func freeRange(t testing.TB, n int) Range {
	t.Helper()
search:
	for first := freeFrom(n); ; first = freeFrom(n) {
		for i := range n {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				continue search
			}
			ln.Close()
		}
		return Range{uint16(first), uint16(first + n - 1)}
	}
}

var next struct {
	sync.Mutex
	port int
}

// freeFrom goes round 10000-19999, from a place of this process's own: other
// packages, whose tests run at the same time, have other ports.
func freeFrom(n int) int {
	next.Lock()
	defer next.Unlock()
	if next.port == 0 {
		next.port = 10000 + syscall.Getpid()*37%9000
	}
	if next.port += n; next.port+n > 19999 {
		next.port = 10000
	}
	return next.port
}

// dialFrom connects from a loopback address to a lease's port. The connection
// is closed when the test ends.
func dialFrom(t testing.TB, from string, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatalf("dial %s from %s: %v", to, from, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustLease(t testing.TB, p *Pool, r Request) *Lease {
	t.Helper()
	l, err := p.Lease(deadline(t), r)
	if err != nil {
		t.Fatalf("Lease: %v", err)
	}
	l.promise()
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAccept(t testing.TB, l *Lease) net.Conn {
	t.Helper()
	c, err := l.Accept(deadline(t))
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustBeReset fails unless the peer of c has reset it.
func mustBeReset(t testing.TB, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read from a connection that should be reset: %d, %v", n, err)
	}
}

func TestTwoPeersShareAPortInReverseOrder(t *testing.T) {
	p := realPool(t, nil)
	ports := freeRange(t, 1)
	a := mustLease(t, p, Request{Local: loopback, Ports: ports, Peer: peerA, Owner: 1})
	b := mustLease(t, p, Request{Local: loopback, Ports: ports, Peer: peerB, Owner: 2})
	if a.Addr() != b.Addr() {
		t.Fatalf("addresses %v and %v; want one port for both", a.Addr(), b.Addr())
	}
	fromB := dialFrom(t, "127.0.0.3", b.Addr())
	fromA := dialFrom(t, "127.0.0.2", a.Addr())
	for _, x := range []struct {
		lease *Lease
		peer  net.Conn
		text  string
	}{{a, fromA, "for a"}, {b, fromB, "for b"}} {
		conn := mustAccept(t, x.lease)
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("Accept returned a %T; splice needs the *net.TCPConn itself", conn)
		}
		if _, err := io.WriteString(x.peer, x.text); err != nil {
			t.Fatal(err)
		}
		x.peer.Close()
		got, err := io.ReadAll(conn)
		if string(got) != x.text || err != nil {
			t.Errorf("lease %q read %q, %v", x.text, got, err)
		}
	}
	if _, err := net.DialTimeout("tcp", a.Addr().String(), patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after both leases were used: %v; want connection refused", err)
	}
	if u := p.Snapshot(); !slices.Equal(u, nil) {
		t.Errorf("snapshot %v; want nothing", u)
	}
}

func TestStrangerOnASocket(t *testing.T) {
	events := newCount()
	p := realPool(t, events)
	l := mustLease(t, p, Request{Local: loopback, Ports: freeRange(t, 1), Peer: peerA})
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.3")}, Timeout: patience}
	if c, err := d.Dial("tcp", l.Addr().String()); err == nil {
		defer c.Close()
		mustBeReset(t, c)
	} else if !errors.Is(err, syscall.ECONNRESET) { // The reset may come before dial returns.
		t.Fatal(err)
	}
	fromA := dialFrom(t, "127.0.0.2", l.Addr())
	if conn := mustAccept(t, l); conn.RemoteAddr().String() != fromA.LocalAddr().String() {
		t.Errorf("accepted %v; want %v", conn.RemoteAddr(), fromA.LocalAddr())
	}
	if n := events.get("stranger"); n != 1 {
		t.Errorf("%d strangers; want 1", n)
	}
}

// A listener on "::" sees IPv4 peers as mapped addresses.
func TestWildcardServesIPv4(t *testing.T) {
	p := realPool(t, nil)
	l, err := p.Lease(deadline(t), Request{Local: netip.IPv6Unspecified(), Ports: freeRange(t, 1), Peer: peerA})
	if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Skip("no IPv6 here")
	}
	if err != nil {
		t.Fatal(err)
	}
	l.promise()
	defer l.Close()
	dialFrom(t, "127.0.0.2", netip.AddrPortFrom(loopback, l.Addr().Port()))
	mustAccept(t, l)
}

func TestPortOfAnotherProgram(t *testing.T) {
	p := realPool(t, nil)
	ports := freeRange(t, 2)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(loopback, ports.First).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := mustLease(t, p, Request{Local: loopback, Ports: ports, Peer: peerA})
	if l.Addr().Port() != ports.Last {
		t.Errorf("lent %v, which another listener has", l.Addr())
	}
	_, err = p.Lease(deadline(t), Request{Local: loopback, Ports: Range{ports.First, ports.First}, Peer: peerA})
	if !errors.Is(err, ErrBind) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Lease of a taken port: %v; want ErrBind with the cause", err)
	}
}

// A connection that the listener accepted before does not keep the port from
// being listened on again, neither open nor in TIME_WAIT.
func TestPortIsOpenedAgain(t *testing.T) {
	p := realPool(t, nil)
	r := Request{Local: loopback, Ports: freeRange(t, 1), Peer: peerA}
	for i := range 20 {
		l := mustLease(t, p, r)
		dialFrom(t, "127.0.0.2", l.Addr())
		if conn := mustAccept(t, l); i%2 == 0 {
			conn.Close() // We close first: TIME_WAIT is ours.
		}
	}
}

// descriptors counts what this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

// Leases that end at any moment of their connection's arrival leave no
// descriptor and no goroutine, and each accepted connection is its lease's.
func TestRacesLeaveNothing(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	events := newCount()
	p := New(Options{Listen: listenTCP, Events: events})
	ports := freeRange(t, 100) // A promise that was not met keeps its port.
	before := descriptors(t)
	peers := []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}
	var sessions sync.WaitGroup
	for i := range 12 {
		sessions.Add(1)
		go func() {
			defer sessions.Done()
			raceSession(t, p, ports, peers[i%len(peers)], uint64(1+i))
		}()
	}
	sessions.Wait()
	p.Close()
	if l, r := events.get("leased"), events.get("returned"); l != r || l == 0 {
		t.Errorf("%d leased, %d returned", l, r)
	}
	// goleak's own patience is less than half a second.
	var leaked error
	after := before
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if leaked, after = goleak.Find(ignore), descriptors(t); leaked == nil && after <= before {
			break
		}
	}
	if leaked != nil {
		t.Error(leaked)
	}
	if after > before {
		t.Errorf("%d descriptors; %d before", after, before)
	}
}

func raceSession(t *testing.T, p *Pool, ports Range, peer string, owner uint64) {
	r := Request{
		Local: loopback, Ports: ports, Owner: owner, Hold: owner%4 == 0,
		Peer: netip.PrefixFrom(netip.MustParseAddr(peer), 32),
	}
	for i := range 60 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rand.IntN(20))*time.Millisecond)
		l, err := p.Lease(ctx, r)
		cancel()
		if errors.Is(err, ErrFull) {
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		l.promise()
		var both sync.WaitGroup
		both.Add(2)
		go func() {
			defer both.Done()
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(peer)}, Timeout: patience}
			if c, err := d.Dial("tcp", l.Addr().String()); err == nil {
				c.Close()
			}
		}()
		go func() {
			defer both.Done()
			if i%3 == 0 {
				l.Close() // races with the connection and with Accept
			}
		}()
		ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
		c, err := l.Accept(ctx)
		cancel()
		if err == nil {
			if host, _, _ := net.SplitHostPort(c.RemoteAddr().String()); host != peer {
				t.Errorf("lease of %s got a connection from %s", peer, host)
			}
			c.Close()
		}
		both.Wait()
		l.Close()
		if rand.IntN(2) == 0 {
			l.movedOn()
		} else {
			l.told()
		}
	}
}

// One session's data connection, from the lease to its end.
func BenchmarkLease(b *testing.B) {
	ignore := goleak.IgnoreCurrent()
	p := New(Options{Listen: listenTCP})
	r := Request{Local: loopback, Ports: freeRange(b, 100), Peer: netip.MustParsePrefix("127.0.0.1/32"), Owner: 1}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		l, err := p.Lease(ctx, r)
		if err != nil {
			b.Fatal(err)
		}
		l.promise()
		c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(l.Addr()))
		if err != nil {
			b.Fatal(err)
		}
		got, err := l.Accept(ctx)
		if err != nil {
			b.Fatal(err)
		}
		c.SetLinger(0) // so that TIME_WAIT does not use up the ports
		c.Close()
		got.Close()
		l.Close()
	}
	p.Close()
	goleak.VerifyNone(b, ignore)
}

// The same without a pool: what the sockets alone cost.
func BenchmarkBareSockets(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		c, err := net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
		if err != nil {
			b.Fatal(err)
		}
		got, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		c.SetLinger(0)
		c.Close()
		got.Close()
		ln.Close()
	}
}
