package binds

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// lacking is a network that cannot bind one address or port.
type lacking tcp.Local

func (l lacking) MayBind(local tcp.Local) error {
	if local == tcp.Local(l) {
		return syscall.EADDRNOTAVAIL
	}
	return nil
}

func TestCheck(t *testing.T) {
	source, passive := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("203.0.113.9")
	for _, tt := range []struct {
		name    string
		lacks   tcp.Local
		free    bool
		source  bool // a *SourceError
		passive bool
	}{
		{name: "nothing", lacks: tcp.AnyPort(netip.MustParseAddr("192.0.2.1"))},
		{name: "active_source_ports", lacks: tcp.AnyPort(netip.Addr{}).WithPort(20), source: true},
		{name: "source", lacks: tcp.AnyPort(source), source: true},
		{name: "source = client", lacks: tcp.Local{Transparent: true}, source: true},
		{name: "passive_bind", lacks: tcp.AnyPort(passive), passive: true},
		{name: "passive_bind, later", lacks: tcp.AnyPort(passive), free: true},
	} {
		c := config.Defaults()
		fe, be := config.NewFrontend("public"), config.NewBackend("inside")
		fe.ActiveSourcePorts = []config.PortRange{{First: 20, Last: 20}}
		fe.PassiveBind, fe.FreeBind = config.PassiveBind{IPv4: passive}, tt.free
		be.Source = config.Source{Client: true, IPv4: source}
		c.Frontends, c.Backends = []config.Frontend{fe}, []config.Backend{be}
		err := Check(lacking(tt.lacks), &c)
		var from *SourceError
		var on *PassiveError
		if errors.As(err, &from) != tt.source || errors.As(err, &on) != tt.passive || (err != nil) != (tt.source || tt.passive) {
			t.Errorf("without %s: %v", tt.name, err)
		}
	}
}
