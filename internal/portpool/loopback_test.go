package portpool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Tests on real loopback sockets.

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	peerA    = netip.MustParsePrefix("127.0.0.2/32")
	peerB    = netip.MustParsePrefix("127.0.0.3/32")
)

func listenTCP(addr netip.AddrPort) (net.Listener, error) {
	return net.Listen("tcp", addr.String())
}

// realPool has no goroutine left when the test ends.
func realPool(t testing.TB, events Events) *Pool {
	t.Helper()
	p := New(listenTCP, events)
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

// freeFrom goes round 10000-29999, from a place of this process's own.
func freeFrom(n int) int {
	next.Lock()
	defer next.Unlock()
	if next.port == 0 {
		next.port = 10000 + syscall.Getpid()*37%19000
	}
	if next.port += n; next.port+n > 29999 {
		next.port = 10000
	}
	return next.port
}

// dialFrom connects from a loopback address to a lease's port. The connection
// is closed when the test ends.
func dialFrom(t testing.TB, from string, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatalf("dial %s from %s: %v", to, from, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func mustLease(t testing.TB, p *Pool, r Request) *Lease {
	t.Helper()
	l, err := p.Lease(deadline(t), r)
	if err != nil {
		t.Fatalf("Lease: %v", err)
	}
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

// mustBeClosed fails unless the peer of c has closed or reset it.
func mustBeClosed(t testing.TB, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var one [1]byte
	n, err := c.Read(one[:])
	if n != 0 || errors.Is(err, context.DeadlineExceeded) || err == nil {
		t.Fatalf("read from a connection that should be closed: %d, %v", n, err)
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("the connection was not closed")
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
	if _, err := net.DialTimeout("tcp", a.Addr().String(), 10*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after both leases were used: %v; want connection refused", err)
	}
	if u := p.Snapshot(); !slices.Equal(u, nil) {
		t.Errorf("snapshot %v; want nothing", u)
	}
}
