package resolve

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/logline"
)

// A probe is a set with all that it has told.
type probe struct {
	*Set
	log     lockedBuffer
	changes [][]Target
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// lines returns the log since it was asked for last.
func (b *lockedBuffer) lines() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.Reset()
	return b.String()
}

func probeOf(lookup Lookup, own func(netip.AddrPort) bool, old *Set, servers ...config.Server) *probe {
	p := new(probe)
	p.Set = New(servers, Options{
		Backend: "legacy", Lookup: lookup, Timeout: 5 * time.Second, Own: own, Log: logline.Log{Logger: zerolog.New(&p.log)},
		Changed: func(all []Target) { p.changes = append(p.changes, all) },
	}, old)
	return p
}

func (p *probe) expect(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, target := range p.Targets() {
		got = append(got, fmt.Sprintf("%s %s %s weight %d tier %d", target.Name, target.Host, target.Addr, target.Weight, target.Tier))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// said expects the log to have n lines with text, since the last call.
func (p *probe) said(t *testing.T, n int, text string) {
	t.Helper()
	if log := p.log.lines(); strings.Count(log, text) != n {
		t.Errorf("want %d times %q in\n%s", n, text, log)
	}
}

var (
	named = config.Server{Host: "ftp.example.net", Port: 21}
	srv   = config.Server{Host: "_ftp._tcp.example.net", SRV: true}
)

// noLookup fails the test that asks it.
type noLookup struct{ t *testing.T }

func (l noLookup) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	l.t.Errorf("asked for %s", host)
	return nil, nil
}

func (l noLookup) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	l.t.Errorf("asked for %s", name)
	return "", nil, nil
}

// Addresses are known at once, and nobody is asked for them.
func TestLiteralAddresses(t *testing.T) {
	p := probeOf(noLookup{t}, nil, nil,
		config.Server{Host: "10.0.0.5", Port: 21},
		config.Server{Label: "big", Host: "2001:db8::5", Port: 2121, Weight: 3, Backup: true, MaxSessions: 7})
	p.expect(t, "10.0.0.5:21 10.0.0.5 10.0.0.5:21 weight 1 tier 0", "big 2001:db8::5 [2001:db8::5]:2121 weight 3 tier 65536")
	if got := p.Targets()[1].Max; got != 7 {
		t.Errorf("at most %d sessions", got)
	}
	p.Resolve(t.Context())
	p.Run(t.Context()) // returns at once
	if p.Names() || len(p.changes) != 0 {
		t.Errorf("changes %v", p.changes)
	}
}

func TestAllAddressesOfAName(t *testing.T) {
	d := startDNS(t)
	d.set(t, "ftp.example.net.", "A 10.0.0.6", "A 10.0.0.5", "AAAA 2001:db8::5")
	p := probeOf(d.resolver(), nil, nil, named)
	p.expect(t)
	p.Resolve(t.Context())
	want := []string{
		"ftp.example.net:21 ftp.example.net 10.0.0.5:21 weight 1 tier 0",
		"ftp.example.net:21 ftp.example.net 10.0.0.6:21 weight 1 tier 0",
		"ftp.example.net:21 ftp.example.net [2001:db8::5]:21 weight 1 tier 0",
	}
	p.expect(t, want...)
	p.said(t, 1, `"message":"server resolved"`)

	// The same answer in another order is no news.
	d.set(t, "ftp.example.net.", "AAAA 2001:db8::5", "A 10.0.0.5", "A 10.0.0.6")
	p.Resolve(t.Context())
	p.expect(t, want...)
	if p.said(t, 0, "message"); len(p.changes) != 1 {
		t.Errorf("%d changes, want 1", len(p.changes))
	}

	// A family that ends is no failure; an address less is news.
	d.set(t, "ftp.example.net.", "A 10.0.0.6")
	p.Resolve(t.Context())
	p.expect(t, want[1])
	if p.said(t, 0, "warn"); len(p.changes) != 2 {
		t.Errorf("%d changes, want 2", len(p.changes))
	}
}

// NXDOMAIN and SERVFAIL leave the last good answer, and are logged once each.
func TestFailureAfterAGoodAnswer(t *testing.T) {
	d := startDNS(t)
	const name, want = "ftp.example.net.", "ftp.example.net:21 ftp.example.net 10.0.0.5:21 weight 1 tier 0"
	p := probeOf(d.resolver(), nil, nil, named)
	p.Resolve(t.Context())
	p.expect(t)
	p.said(t, 1, "no earlier answer is known")
	p.Resolve(t.Context())
	p.said(t, 0, "message")
	d.set(t, name, "A 10.0.0.5")
	p.Resolve(t.Context())
	p.expect(t, want)
	p.said(t, 1, "resolved again")
	d.set(t, name)
	for i := range 3 {
		p.Resolve(t.Context())
		p.expect(t, want)
		p.said(t, max(0, 1-i), "the last answer stays")
	}
	d.behave(name, false, true)
	p.Resolve(t.Context())
	p.expect(t, want)
	p.said(t, 1, "the last answer stays")
	if len(p.changes) != 1 {
		t.Errorf("%d changes, want 1", len(p.changes))
	}

	// A reload while the resolver fails loses nothing.
	label := config.Server{Label: "one", Host: named.Host, Port: named.Port, Weight: 2}
	next := probeOf(d.resolver(), nil, p.Set, label)
	next.expect(t, "one ftp.example.net 10.0.0.5:21 weight 2 tier 0")
	next.Resolve(t.Context())
	next.expect(t, "one ftp.example.net 10.0.0.5:21 weight 2 tier 0")
	next.said(t, 0, "message")
}

// A thousand addresses do not fit into a packet, and only some are used.
func TestThousandAddresses(t *testing.T) {
	d := startDNS(t)
	var records, want []string
	for i := range 1000 {
		records = append(records, fmt.Sprintf("A 10.0.%d.%d", i/250, i%250))
		if i < maxAddrs {
			want = append(want, fmt.Sprintf("ftp.example.net:21 ftp.example.net 10.0.%d.%d:21 weight 1 tier 0", i/250, i%250))
		}
	}
	slices.Reverse(records)
	d.set(t, "ftp.example.net.", records...)
	p := probeOf(d.resolver(), nil, nil, named)
	p.Resolve(t.Context())
	p.expect(t, want...)
	p.said(t, 1, `"left_out":744`)
	if d.overTCP.Load() == 0 {
		t.Error("nobody asked over TCP")
	}
	p.Resolve(t.Context())
	p.said(t, 0, "message")
}

// A name that gets no answer takes nothing from the others, and the time bounds it.
func TestResolverHangs(t *testing.T) {
	d := startDNS(t)
	d.set(t, "ftp.example.net.", "A 10.0.0.5")
	d.behave("slow.example.net.", true, false)
	p := probeOf(d.resolver(), nil, nil, config.Server{Host: "slow.example.net", Port: 21}, named)
	p.Timeout = 300 * time.Millisecond
	before := time.Now()
	p.Resolve(t.Context())
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	p.expect(t, "ftp.example.net:21 ftp.example.net 10.0.0.5:21 weight 1 tier 0")
	p.said(t, 1, `"host":"slow.example.net"`)
}

func TestSRV(t *testing.T) {
	d := startDNS(t)
	d.set(t, "_ftp._tcp.example.net.", "SRV 10 60000 21 a.example.net.", "SRV 10 30000 2121 B.example.net.", "SRV 10 0 21 c.example.net.", "SRV 20 5 21 d.example.net.")
	d.set(t, "a.example.net.", "A 10.0.0.1")
	d.set(t, "B.example.net.", "A 10.0.0.2")
	d.set(t, "b.example.net.", "A 10.0.0.2", "AAAA 2001:db8::2")
	d.set(t, "c.example.net.", "A 10.0.0.3")
	d.set(t, "d.example.net.", "A 10.0.0.4")
	spare := srv
	spare.Label, spare.Backup, spare.Weight = "spare", true, 2
	p := probeOf(d.resolver(), nil, nil, srv, spare)
	p.Resolve(t.Context())
	const name = "srv:_ftp._tcp.example.net "
	p.expect(t,
		name+"a.example.net 10.0.0.1:21 weight 256 tier 0",
		name+"b.example.net 10.0.0.2:2121 weight 128 tier 0",
		name+"c.example.net 10.0.0.3:21 weight 1 tier 0",
		name+"b.example.net [2001:db8::2]:2121 weight 128 tier 0",
		name+"d.example.net 10.0.0.4:21 weight 1 tier 1",
		"spare a.example.net 10.0.0.1:21 weight 256 tier 65536",
		"spare b.example.net 10.0.0.2:2121 weight 128 tier 65536",
		"spare c.example.net 10.0.0.3:21 weight 2 tier 65536",
		"spare b.example.net [2001:db8::2]:2121 weight 128 tier 65536",
		"spare d.example.net 10.0.0.4:21 weight 2 tier 65537",
	)

	// Small weights are as they are. A target that fails is told by its name, and the others are used.
	q := probeOf(d.resolver(), nil, nil, srv)
	d.set(t, "_ftp._tcp.example.net.", "SRV 10 3 21 a.example.net.", "SRV 10 2 21 gone.example.net.")
	q.Resolve(t.Context())
	q.expect(t, name+"a.example.net 10.0.0.1:21 weight 3 tier 0")
	q.said(t, 1, `"host":"gone.example.net"`)

	// A target that fails after a good answer stays; one that left the records does not.
	d.behave("a.example.net.", false, true)
	d.set(t, "_ftp._tcp.example.net.", "SRV 10 3 21 a.example.net.")
	q.Resolve(t.Context())
	q.expect(t, name+"a.example.net 10.0.0.1:21 weight 3 tier 0")
	q.said(t, 1, "the last answer stays")

	if v := q.servers[0]; len(v.addrs) != 1 || len(v.failing) != 1 {
		t.Errorf("it still knows %v and %v", v.addrs, v.failing)
	}

	// No such service, by the target ".": the last answer stays.
	d.set(t, "_ftp._tcp.example.net.", "SRV 0 0 21 .")
	q.Resolve(t.Context())
	q.expect(t, name+"a.example.net 10.0.0.1:21 weight 3 tier 0")
	q.said(t, 1, `"host":"srv:_ftp._tcp.example.net","message":"server name not resolved, the last answer stays`)
}

// What leads back to ftproxy is left out, and logged once.
func TestOwnAddress(t *testing.T) {
	d := startDNS(t)
	d.set(t, "_ftp._tcp.example.net.", "SRV 10 1 21 a.example.net.", "SRV 10 1 2121 a.example.net.")
	d.set(t, "a.example.net.", "A 10.0.0.1")
	own := func(addr netip.AddrPort) bool { return addr == netip.MustParseAddrPort("10.0.0.1:21") }
	p := probeOf(d.resolver(), own, nil, srv)
	for i := range 2 {
		p.Resolve(t.Context())
		p.expect(t, "srv:_ftp._tcp.example.net a.example.net 10.0.0.1:2121 weight 1 tier 0")
		p.said(t, 1-i, `"address":"10.0.0.1:21","message":"server is ftproxy itself`)
	}
}

// A fakeLookup answers with one address that changes every minute.
type fakeLookup struct{ began time.Time }

func (l fakeLookup) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	if network == "ip6" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(time.Since(l.began) / time.Minute)})}, nil
}

func (l fakeLookup) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	panic("no SRV server")
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probeOf(fakeLookup{time.Now()}, nil, nil, named)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Second)
		defer cancel()
		p.Resolve(ctx)
		p.Run(ctx)
		if len(p.changes) != 11 {
			t.Errorf("%d changes, want 11", len(p.changes))
		}
		p.expect(t, "ftp.example.net:21 ftp.example.net 10.0.0.10:21 weight 1 tier 0")
		p.said(t, 11, `"count":1`)
	})
}
