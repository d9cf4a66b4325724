package dial

import (
	"errors"
	"net/netip"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

func TestSourceTowards(t *testing.T) {
	const v4, v6 = "198.51.100.7", "2001:db8:1::7"
	own4, own6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, tt := range []struct {
		name           string
		source         config.Source
		server, client string
		want           string
		transparent    bool
		err            error
	}{
		{"the kernel's choice", config.Source{}, "10.0.0.5", v4, "", false, nil},
		{"client", config.Source{Client: true}, "10.0.0.5", v4, v4, true, nil},
		{"client, IPv6", config.Source{Client: true}, "fd00::5", v6, v6, true, nil},
		{"client, other family", config.Source{Client: true}, "fd00::5", v4, "", false, errOtherFamily},
		{"client, zone", config.Source{Client: true}, "fd00::5", "fe80::1%eth0", "", false, errOtherFamily},
		{"own", config.Source{Client: true, Own: true}, "10.0.0.5", v4, v4, true, nil},
		{"own, other family", config.Source{Client: true, Own: true}, "10.0.0.5", v6, "", false, nil},
		{"own, zone", config.Source{Client: true, Own: true}, "fd00::5", "fe80::1%eth0", "", false, nil},
		{"fixed", config.Source{IPv4: own4, IPv6: own6}, "10.0.0.5", v6, "10.0.0.1", false, nil},
		{"fixed, IPv6", config.Source{IPv4: own4, IPv6: own6}, "fd00::5", v4, "fd00::1", false, nil},
		{"fixed, other family", config.Source{IPv4: own4}, "fd00::5", v6, "", false, errNoSource},
	} {
		var want tcp.Local
		if tt.want != "" {
			want = tcp.AnyPort(netip.MustParseAddr(tt.want))
		}
		want.Transparent = tt.transparent
		got, err := towards(tt.source, netip.MustParseAddr(tt.server), netip.MustParseAddr(tt.client))
		if got != want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v; want %v, %v", tt.name, got, err, want, tt.err)
		}
	}
}
