package proxy

import (
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/metrics"
)

// A public address by name follows the name, and stays when the resolver has
// nothing to say. Several addresses are told in one order, however they come.
func TestPublicAddressByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
		network := ftptest.NewNetwork()
		host := network.Host(netip.MustParseAddr("203.0.113.9"))
		network.Name("ftp.example.net", six, two, one)
		c, err := config.Parse("config.toml", []byte(`
[frontend.public]
listen = "203.0.113.9:21"
backend = "inside"
public_address_for = { "10.0.0.0/8" = ["nobody.example.net", "ftp.example.net"] }
[backend.inside]
servers = "10.0.0.5"
`))
		if err != nil {
			t.Fatal(err)
		}
		p := New(Options{Network: fakeNetwork{host}, Log: zerolog.New(io.Discard), Metrics: metrics.New("test")})
		if err := p.Apply(c); err != nil {
			t.Fatal(err)
		}
		want := func(want netip.Addr) {
			t.Helper()
			if got, ok := p.names.IPv4(c.Frontends[0].PublicAddressFor[0].Hosts); !ok || got != want {
				t.Errorf("the address is %v, want %v", got, want)
			}
		}
		pass := func() {
			time.Sleep(namesRefresh)
			synctest.Wait()
		}
		want(one)
		network.Name("ftp.example.net", one, two)
		pass()
		want(one)
		network.Name("ftp.example.net", two, six)
		pass()
		want(two)
		network.Name("ftp.example.net")
		pass()
		want(two)
		network.Name("ftp.example.net", one)
		pass()
		want(one)
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
