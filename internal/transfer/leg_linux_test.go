package transfer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"ftproxy/internal/portpool"
	"ftproxy/internal/tcp"
)

// freePort is a port that nobody listens at, below those that the kernel gives, and not
// other.
func freePort(t *testing.T, other portpool.Range) portpool.Range {
	t.Helper()
	for range 1000 {
		port := uint16(20000 + rand.IntN(10000))
		if other.Contains(port) {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return portpool.Range{First: port, Last: port}
		}
	}
	t.Fatal("no free port")
	return portpool.Range{}
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// One source port has a connection to each port of each peer, and the kernel
// says so where it cannot have another; then the leg takes the next.
func TestSourcePort(t *testing.T) {
	first := freePort(t, portpool.Range{})
	second := freePort(t, first)
	leg := func(to net.Listener) DialLeg {
		return DialLeg{Dialer: tcp.Network{}, Local: tcp.AnyPort(netip.MustParseAddr("127.0.0.1")), Ports: []portpool.Range{first, second},
			Remote: tcp.AddrPort(to.Addr())}
	}
	open := func(l DialLeg, want portpool.Range) {
		t.Helper()
		conn, err := l.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if got := tcp.AddrPort(conn.LocalAddr()).Port(); got != want.First {
			t.Errorf("from port %d, want %v", got, want)
		}
	}
	a, b := listenLoopback(t), listenLoopback(t)
	open(leg(a), first)
	open(leg(b), first)
	open(leg(a), second)
	open(leg(b), second)
	if _, err := leg(a).open(t.Context()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a third one: %v", err)
	}
	// Nobody is there: that is not for another port to try.
	_ = b.Close()
	if _, err := leg(b).open(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("to nobody: %v", err)
	}
}
