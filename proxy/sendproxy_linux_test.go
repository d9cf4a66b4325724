package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/metrics"
	"ftproxy/internal/origin"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
	"ftproxy/rewrite"
)

// startHop starts a proxy for a server and tells where it listens.
func startHop(t testing.TB, server netip.AddrPort, log io.Writer, change func(*config.Frontend, *config.Backend)) netip.AddrPort {
	t.Helper()
	c := config.Defaults()
	f, b := config.NewFrontend("public"), config.NewBackend("inside")
	f.Listen = []netip.AddrPort{netip.AddrPortFrom(loopback(false), 0)}
	f.PassivePorts, f.Backend = freePort(t), b.Name
	f.PassiveBind.IPv4 = loopback(false)
	b.Servers = []config.Server{{Host: server.Addr().String(), Port: server.Port()}}
	b.DataPorts = freePort(t)
	change(&f, &b)
	c.Frontends, c.Backends = []config.Frontend{f}, []config.Backend{b}
	p := New(Options{Network: tcp.Network{}, Log: zerolog.New(log), Metrics: metrics.New("test")})
	if err := p.Apply(&c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, at := range p.Addrs() {
		return tcp.AddrPort(at)
	}
	t.Fatal("it does not listen")
	return netip.AddrPort{}
}

// Behind two proxies of ours, the second knows the client on control and data, and
// the session by the name that the first gave it.
func TestTwoHops(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		var first, second lockedBuffer
		inner := startHop(t, benchServer(t), &second, func(f *config.Frontend, _ *config.Backend) {
			f.ProxyProtocol, f.DataProxyProtocol = true, true
			f.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		})
		outer := startHop(t, inner, &first, func(_ *config.Frontend, b *config.Backend) {
			b.SendProxy, b.SendProxyData = version, true
		})
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
		conn, err := dialer.Dial("tcp", outer.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := newActor(t, "client", conn)
		client.hear("220")
		for _, ask := range [][2]string{{"USER anna", "331"}, {"PASS secret", "230"}} {
			client.say(ask[0])
			client.hear(ask[1])
		}
		client.say("PASV")
		at, err := rewrite.ParsePASV(client.hear("227"))
		if err != nil {
			t.Fatal(err)
		}
		data, err := dialer.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer data.Close()
		client.say("RETR f")
		client.hear("150")
		_ = data.SetReadDeadline(time.Now().Add(socketTimeout))
		if got, err := io.ReadAll(data); err != nil || len(got) != 1<<10 {
			t.Errorf("%s: %d bytes, %v", version, len(got), err)
		}
		data.Close()
		client.hear("226")
		client.say("QUIT")
		client.hear("221")
		client.hearEnd()

		started := logged(t, second.String(), "session started")
		if started["client"] != conn.LocalAddr().String() || started["local"] != outer.String() {
			t.Errorf("%s: the second says %v; the client is %v", version, started, conn.LocalAddr())
		}
		if id := logged(t, first.String(), "session started")["session"]; version == "v2" && started["unique_id"] != id {
			t.Errorf("unique id %v, the first proxy's session is %v", started["unique_id"], id)
		}
		moved := logged(t, second.String(), "transfer")
		if to, _ := moved["client_data"].(string); !strings.HasPrefix(to, "127.0.0.9:") || moved["bytes"] != 1024.0 {
			t.Errorf("%s: the second says %v", version, moved)
		}
	}
}

// logged is the line of a log with a message.
func logged(t *testing.T, log, message string) map[string]any {
	t.Helper()
	for line := range strings.Lines(log) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e["message"] == message {
			return e
		}
	}
	t.Fatalf("no %q in\n%s", message, log)
	return nil
}

// A server is told who the client is, and of a session by its name, or by the one that
// the proxy before us gave.
func TestOwnHeader(t *testing.T) {
	p := new(Process)
	p.sessions.Init(secretVerbs)
	client, local := netip.MustParseAddrPort("198.51.100.7:40000"), netip.MustParseAddrPort("203.0.113.9:21")
	for _, tt := range []struct {
		version byte
		from    origin.Origin
		want    proxyheader.Header
	}{
		{1, origin.Origin{Client: client, Local: local}, proxyheader.Header{Source: client, Destination: local}},
		{2, origin.Origin{Client: client, Local: local}, proxyheader.Header{Source: client, Destination: local, UniqueID: p.sessions.Name(0x1f)}},
		{2, origin.Origin{Client: client, Local: local, UniqueID: "given", Authority: "ftp.example.net"},
			proxyheader.Header{Source: client, Destination: local, UniqueID: "given", Authority: "ftp.example.net"}},
	} {
		s := &session{
			from:    tt.from,
			backend: &backend{sendProxy: tt.version},
			log:     report.Session{Name: p.sessions.Name(0x1f)},
		}
		if got, err := proxyheader.Read(bytes.NewReader(s.ownHeader())); err != nil || got != tt.want {
			t.Errorf("%+v: %+v, %v; want %+v", tt.from, got, err, tt.want)
		}
	}
}
