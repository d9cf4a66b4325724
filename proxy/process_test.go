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

// failingNetwork cannot listen on some addresses.
type failingNetwork struct {
	tcp.Network
	fail map[netip.AddrPort]error
}

func (n failingNetwork) Listen(addr netip.AddrPort, _ ...net.Listener) (net.Listener, error) {
	if err := n.fail[addr]; err != nil {
		return nil, err
	}
	return n.Network.Listen(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 0))
}

// "listen = ':21'" works where IPv6 is off, but an address that was asked for
// by name has to be there.
func TestListenWithoutIPv6(t *testing.T) {
	any4, any6 := netip.MustParseAddrPort("0.0.0.0:21"), netip.MustParseAddrPort("[::]:21")
	one6 := netip.MustParseAddrPort("[2001:db8::1]:21")
	tests := []struct {
		name   string
		listen []netip.AddrPort
		fail   map[netip.AddrPort]error
		want   error
	}{
		{"both halves, no IPv6", []netip.AddrPort{any4, any6}, map[netip.AddrPort]error{any6: syscall.EAFNOSUPPORT}, nil},
		{"both halves, no IPv6 address", []netip.AddrPort{any4, any6}, map[netip.AddrPort]error{any6: syscall.EADDRNOTAVAIL}, nil},
		{"both halves, in use", []netip.AddrPort{any4, any6}, map[netip.AddrPort]error{any6: syscall.EADDRINUSE}, syscall.EADDRINUSE},
		{"IPv6 half alone", []netip.AddrPort{any6}, map[netip.AddrPort]error{any6: syscall.EAFNOSUPPORT}, syscall.EAFNOSUPPORT},
		{"by name", []netip.AddrPort{any4, one6}, map[netip.AddrPort]error{one6: syscall.EADDRNOTAVAIL}, syscall.EADDRNOTAVAIL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := New(Options{Network: failingNetwork{fail: tt.fail}, Log: zerolog.Nop(), Metrics: metrics.New("test")})
			defer p.Shutdown(t.Context())
			frontend := config.NewFrontend("f")
			frontend.Listen, frontend.Backend = tt.listen, "b"
			backend := config.NewBackend("b")
			backend.Servers = []config.Server{{Host: "127.0.0.1", Port: 1}}
			c := config.Defaults()
			c.Frontends, c.Backends = []config.Frontend{frontend}, []config.Backend{backend}
			err := p.Apply(&c)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Apply: %v, want %v", err, tt.want)
			}
			if tt.want != nil && len(p.Addrs()) != 0 {
				t.Errorf("a failed Apply left %v open", p.Addrs())
			}
		})
	}
}
