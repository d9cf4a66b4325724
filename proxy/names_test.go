package proxy

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/metrics"
	"ftproxy/internal/names"
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
			time.Sleep(names.Refresh)
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

// slowResolver is a network whose resolver needs a time.
type slowResolver struct {
	fakeNetwork
	takes time.Duration
}

func (n slowResolver) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	select {
	case <-time.After(n.takes):
		return n.fakeNetwork.Resolve(ctx, host)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A start that waits for the resolver says so, and a name without an answer is told
// from one whose last answer stays.
func TestPublicAddressSlowlyResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := ftptest.NewNetwork()
		host := network.Host(netip.MustParseAddr("203.0.113.9"))
		network.Name("ftp.example.net", netip.MustParseAddr("192.0.2.1"))
		c, err := config.Parse("config.toml", []byte(`
[frontend.public]
listen = "203.0.113.9:21"
backend = "inside"
public_address = "ftp.example.net"
[backend.inside]
servers = "10.0.0.5"
`))
		if err != nil {
			t.Fatal(err)
		}
		const waits, unknown, stays = "waiting for the resolver", "no earlier answer is known", "the last answer stays"
		for _, tt := range []struct {
			takes time.Duration
			want  []string
		}{{0, nil}, {3 * time.Second, []string{waits}}, {time.Hour, []string{waits, unknown}}} {
			var log bytes.Buffer
			p := New(Options{Network: slowResolver{fakeNetwork{host}, tt.takes}, Log: zerolog.New(zerolog.SyncWriter(&log)), Metrics: metrics.New("test")})
			if err := p.Apply(c); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for _, line := range []string{waits, unknown, stays} {
				if got, want := strings.Contains(log.String(), line), slices.Contains(tt.want, line); got != want {
					t.Errorf("a resolver that takes %v: %q is in the log: %v, want %v\n%s", tt.takes, line, got, want, &log)
				}
			}
			if err := p.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
