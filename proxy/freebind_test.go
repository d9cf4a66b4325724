package proxy

import (
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/binds"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/metrics"
	"ftproxy/internal/portpool"
)

// An address that the machine lacks is an error of the start, for data as for control,
// unless freebind says that it comes later: then both listen on it.
func TestFreeBind(t *testing.T) {
	const here, elsewhere = "203.0.113.9", "203.0.113.10"
	for _, tt := range []struct {
		name, listen, bind, free string
		want                     error
	}{
		{"data", here, elsewhere, "", syscall.EADDRNOTAVAIL},
		{"control", elsewhere, here, "", syscall.EADDRNOTAVAIL},
		{"data, later", here, elsewhere, "freebind = true", nil},
		{"both, later", elsewhere, elsewhere, "freebind = true", nil},
		{"every address", here, "0.0.0.0", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Parse("config.toml", []byte(`
[frontend.public]
listen = "`+tt.listen+`:21"
passive_bind = "`+tt.bind+`"
backend = "inside"
`+tt.free+`
[backend.inside]
servers = "10.0.0.5"
`))
			if err != nil {
				t.Fatal(err)
			}
			host := ftptest.NewNetwork().Host(netip.MustParseAddr(here))
			p := New(Options{Network: fakeNetwork{host}, Log: zerolog.New(io.Discard), Metrics: metrics.New("test")})
			defer p.Shutdown(t.Context())
			err = p.Apply(c)
			var bind *binds.PassiveError
			if !errors.Is(err, tt.want) || errors.As(err, &bind) != (tt.want != nil && tt.bind == elsewhere) {
				t.Fatalf("Apply: %v, want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			lease, err := p.ports.Lease(t.Context(), portpool.Request{Local: netip.MustParseAddr(tt.bind), Ports: portpool.Range{First: 30000, Last: 30000},
				Peer: netip.MustParsePrefix("198.51.100.7/32"), Owner: 1})
			if err != nil {
				t.Fatal(err)
			}
			lease.Close()
		})
	}
}
