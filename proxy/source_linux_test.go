package proxy

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
)

// One source port has a connection to each port of each peer, and the kernel
// says so where it cannot have another; then the leg takes the next.
func TestSourcePort(t *testing.T) {
	first, second := freePort(t), freePort(t)
	leg := func(to net.Listener) dialLeg {
		return dialLeg{network: tcp.Network{}, local: tcp.AnyPort(netip.MustParseAddr("127.0.0.1")), ports: []config.PortRange{first, second},
			remote: tcp.AddrPort(to.Addr())}
	}
	open := func(l dialLeg, want config.PortRange) {
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

// What cannot be had is an error of Apply, one for each, and nothing is in force.
func TestApplySources(t *testing.T) {
	p := New(Options{Network: tcp.Network{}, Log: zerolog.Nop(), Metrics: metrics.New("test")})
	defer p.Shutdown(t.Context())
	c := config.Defaults()
	f, b := config.NewFrontend("f"), config.NewBackend("b")
	f.Listen, f.Backend = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, "b"
	b.Servers = []config.Server{{Host: "127.0.0.1", Port: 1}}
	b.Source = config.Source{IPv4: netip.MustParseAddr("192.0.2.77"), IPv6: netip.MustParseAddr("2001:db8::77")}
	c.Frontends, c.Backends = []config.Frontend{f}, []config.Backend{b}
	err := p.Apply(&c)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 || len(p.Addrs()) != 0 {
		t.Fatalf("%v, and listens on %v; want two errors and nothing", err, p.Addrs())
	}
	for i, addr := range []netip.Addr{b.Source.IPv4, b.Source.IPv6} {
		var e *SourceError
		if !errors.As(joined.Unwrap()[i], &e) || e.Backend != "b" || e.Addr != addr {
			t.Errorf("%v, want one about %s", joined.Unwrap()[i], addr)
		}
	}
}
