package proxy

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/binds"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
)

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
		var e *binds.SourceError
		if !errors.As(joined.Unwrap()[i], &e) || e.Backend != "b" || e.Addr != addr {
			t.Errorf("%v, want one about %s", joined.Unwrap()[i], addr)
		}
	}
}
