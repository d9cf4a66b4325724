package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
	"ftproxy/rewrite"
)

// Here the test plays the proxy in front, too: it connects from 127.0.0.1, which
// is trusted, and names clients of 198.51.100.0/24.

var (
	clientAddr = netip.MustParseAddrPort("198.51.100.7:40000")
	otherAddr  = netip.MustParseAddrPort("198.51.100.8:40000")
)

// A forecourt is where proxies arrive: a process whose frontend has PROXY headers.
type forecourt struct {
	t       *testing.T
	conf    config.Config
	process *Process
	server  *net.TCPListener
	sockets *witness
	logs    *lockedBuffer
	at      netip.AddrPort
}

// openForecourt starts a process. Timers that a test does not set are never.
func openForecourt(t *testing.T, change func(*config.Config)) *forecourt {
	t.Helper()
	noGoroutineStays(t)
	fc := &forecourt{t: t, server: listenLoopback(t), sockets: &witness{}, logs: &lockedBuffer{}}
	server := tcp.AddrPort(fc.server.Addr())
	fc.conf = config.Config{
		Timeouts: config.Timeouts{
			Connect: never, Greeting: never, Login: never, Idle: never, Reply: never, FinalReply: never, PortWait: never,
			DataConnect: never, DataStall: never, ClientWrite: never, ProxyHeader: never, Linger: never, Drain: never,
		},
		Frontends: []config.Frontend{{
			Name: "public", Listen: []netip.AddrPort{netip.AddrPortFrom(loopback(false), 0)},
			PublicAddress: config.PublicAddress{Auto: true}, PassivePorts: freePort(t), Backend: "inside",
			PassiveBind:   config.PassiveBind{IPv4: loopback(false)},
			ProxyProtocol: true, DataProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		}},
		Backends: []config.Backend{{
			Name: "inside", Servers: []config.Server{{Host: server.Addr().String(), Port: server.Port()}},
			DataPorts: freePort(t),
		}},
	}
	if change != nil {
		change(&fc.conf)
	}
	fc.process = New(Options{Network: fc.sockets, Log: zerolog.New(fc.logs), Metrics: metrics.New("test")})
	fc.apply()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
		defer cancel()
		if err := fc.process.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if n := fc.sockets.open(); n > 0 {
			t.Errorf("%d sockets are open after the shutdown", n)
		}
		if t.Failed() {
			t.Log(fc.logs)
		}
	})
	for _, at := range fc.process.Addrs() {
		fc.at = tcp.AddrPort(at)
	}
	return fc
}

func (fc *forecourt) apply() {
	fc.t.Helper()
	conf := fc.conf
	if err := fc.process.Apply(&conf); err != nil {
		fc.t.Fatal(err)
	}
}

// header is a header of version 1.
func header(client, local netip.AddrPort) string {
	return fmt.Sprintf("PROXY TCP4 %v %v %d %d\r\n", client.Addr(), local.Addr(), client.Port(), local.Port())
}

const signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"

// headerV2 is one of version 2 with what comes behind the addresses.
func headerV2(client, local netip.AddrPort, tlvs string) string {
	b := client.Addr().AsSlice()
	b = append(b, local.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	b = binary.BigEndian.AppendUint16(b, local.Port())
	return startV2(len(b)+len(tlvs)) + string(b) + tlvs
}

// startV2 is what stands before the addresses of one that is n bytes longer.
func startV2(n int) string {
	return signatureV2 + "\x21\x11" + string(binary.BigEndian.AppendUint16(nil, uint16(n)))
}

// tlv is one field of n bytes.
func tlv(kind byte, n int) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(n))) + strings.Repeat("x", n)
}

// connect connects from an address of this machine and sends. It returns nil where
// it learns already then that the connection is reset: nobody is told twice.
func (fc *forecourt) connect(from string, to netip.AddrPort, sends string) *net.TCPConn {
	fc.t.Helper()
	d := net.Dialer{Timeout: socketTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	conn, err := d.Dial("tcp", to.String())
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err != nil {
		fc.t.Fatal(err)
	}
	fc.t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte(sends)); errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return conn.(*net.TCPConn)
}

const trusted = "127.0.0.1"

// session logs a client in behind a header.
func (fc *forecourt) session(client netip.AddrPort) *harness {
	fc.t.Helper()
	return fc.login(fc.connect(trusted, fc.at, header(client, fc.at)))
}

// login logs in on a connection whose header is sent.
func (fc *forecourt) login(conn *net.TCPConn) *harness {
	fc.t.Helper()
	if conn == nil {
		fc.t.Fatal("the connection of a session is reset")
	}
	th := &harness{
		t: fc.t, logs: fc.logs, process: fc.process, sockets: fc.sockets,
		client: newActor(fc.t, "client", conn), server: newActor(fc.t, "server", acceptOne(fc.t, fc.server)),
	}
	th.server.say("220 ready")
	th.client.hear("220")
	th.client.say("USER anna")
	th.server.hear("USER anna")
	th.server.say("230 in")
	th.client.hear("230")
	return th
}

// leased agrees on a passive data connection: at is where the client is to come
// to, and server is the server's end.
func (th *harness) leased() (at netip.AddrPort, server *net.TCPConn) {
	th.t.Helper()
	l := listenLoopback(th.t)
	th.client.say("PASV")
	th.server.hear("PASV")
	th.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
	at, err := rewrite.ParsePASV(th.client.hear("227"))
	if err != nil {
		th.t.Fatal(err)
	}
	return at, acceptOne(th.t, l)
}

// sends plays an upload of want, by a connection that has sent all of it.
func (th *harness) sends(conn, server *net.TCPConn, want []byte) {
	th.t.Helper()
	_ = conn.CloseWrite()
	th.begin("STOR f")
	wantData(th.t, "server", server, want)
	_ = server.Close()
	th.server.say("226 done")
	th.client.hear("226")
	_ = conn.Close()
}

// bye ends a session.
func (th *harness) bye() {
	th.t.Helper()
	th.client.say("QUIT")
	th.server.hear("QUIT")
	th.server.say("221 bye")
	th.client.hear("221")
	_ = th.client.conn.Close()
	_ = th.server.conn.Close()
}

func (fc *forecourt) await(what string, cond func() bool) {
	fc.t.Helper()
	for deadline := time.Now().Add(socketTimeout); !cond(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			fc.t.Fatalf("not within %v: %s", socketTimeout, what)
		}
	}
}

// refused reads how many headers were refused, by reason.
func (fc *forecourt) refused() map[string]int {
	fc.t.Helper()
	const name = `ftproxy_proxy_headers_refused_total{frontend="public",reason="`
	page := httptest.NewRecorder()
	fc.process.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	counts := make(map[string]int)
	for line := range strings.Lines(page.Body.String()) {
		if rest, found := strings.CutPrefix(line, name); found {
			reason, value, _ := strings.Cut(strings.TrimSpace(rest), `"} `)
			n, err := strconv.Atoi(value)
			if err != nil {
				fc.t.Fatalf("%q: %v", line, err)
			}
			if n > 0 {
				counts[reason] = n
			}
		}
	}
	return counts
}

// wantRefused expects these refusals and no others.
func (fc *forecourt) wantRefused(want map[string]int) {
	fc.t.Helper()
	fc.await(fmt.Sprintf("refused are %v", want), func() bool { return fmt.Sprint(fc.refused()) == fmt.Sprint(want) })
}

// wantStrangers expects so many connections to data ports that were nobody's.
func (fc *forecourt) wantStrangers(n int) {
	fc.t.Helper()
	fc.await(fmt.Sprintf("%d strangers are closed", n), func() bool {
		page := httptest.NewRecorder()
		fc.process.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(page.Body.String(), fmt.Sprintf("ftproxy_data_strangers_closed_total{side=%q} %d\n", "client", n))
	})
}

// wantSockets waits until the process has so many open: the listener, two for each
// session, and two for each port on loan whose server's end is open. It returns n.
func (fc *forecourt) wantSockets(n int) int {
	fc.t.Helper()
	fc.await(fmt.Sprintf("%d sockets are open", n), func() bool { return fc.sockets.open() == n })
	return n
}

// pending counts the ports on loan.
func (fc *forecourt) pending() (n int) {
	for _, u := range fc.process.ports.Snapshot() {
		n += u.Pending
	}
	return n
}

// A badHeader costs its own connection.
type badHeader struct {
	name, from, sends string
	end               func(*net.TCPConn) // what the sender does next
	reason            string
}

func endsEarly(conn *net.TCPConn) { _ = conn.CloseWrite() }

// badHeaders are refused without any timer.
func badHeaders(local netip.AddrPort) []badHeader {
	v1, v2 := header(clientAddr, local), headerV2(clientAddr, local, "")
	return []badHeader{
		{name: "untrusted", from: "127.0.0.2", reason: "untrusted"},
		{name: "untrusted v1", from: "127.0.0.2", sends: v1, reason: "untrusted"},
		{name: "untrusted v2", from: "127.0.0.2", sends: v2, reason: "untrusted"},
		{name: "none", from: trusted, sends: "USER anonymous\r\n", reason: "missing"},
		{name: "TLS", from: trusted, sends: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 500), reason: "missing"},
		{name: "64 KB of something", from: trusted, sends: strings.Repeat("x", 64<<10), reason: "missing"},
		{name: "none, and the end", from: trusted, sends: "", end: endsEarly, reason: "missing"},
		{name: "v1 broken", from: trusted, sends: "PROXY TCP4 198.51.100.7 203.0.113.9 40000\r\n", reason: "invalid"},
		{name: "v1 endless", from: trusted, sends: "PROXY TCP4 " + strings.Repeat("1", 64<<10), reason: "invalid"},
		{name: "v1 cut", from: trusted, sends: v1[:len(v1)-2], end: endsEarly, reason: "invalid"},
		{name: "v1 with a number behind", from: trusted, sends: strings.Replace(v1, "\r\n", " 7\r\n", 1), reason: "invalid"},
		{name: "v2 without addresses", from: trusted, sends: startV2(0) + "USER anna\r\n", reason: "invalid"},
		{name: "v2 too short for its family", from: trusted, sends: startV2(11) + strings.Repeat("x", 11), reason: "invalid"},
		{name: "v2 of the longest length", from: trusted, sends: startV2(0xffff) + v2[16:] + "USER anna\r\n", reason: "invalid"},
		{name: "v2 of the longest length, all there", from: trusted, sends: headerV2(clientAddr, local, tlv(0xe0, 0xffff-12-3)), reason: "invalid"},
		{name: "v2 with 10 KB of TLVs", from: trusted, sends: headerV2(clientAddr, local, tlv(0xe0, 10<<10)), reason: "invalid"},
		{name: "v2 longer than sent", from: trusted, sends: startV2(100) + v2[16:], end: endsEarly, reason: "invalid"},
		{name: "v2 cut in its length", from: trusted, sends: v2[:15], end: endsEarly, reason: "invalid"},
		{name: "v2 of IPv6 with the length of IPv4", from: trusted, sends: strings.Replace(v2, "\x21\x11", "\x21\x21", 1), reason: "invalid"},
		{name: "v2 of version 3", from: trusted, sends: strings.Replace(v2, "\x21\x11", "\x31\x11", 1), reason: "invalid"},
	}
}

// wantSentAway expects that the process resets a connection and says nothing.
func wantSentAway(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	if conn == nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
	n, err := io.Copy(io.Discard, conn)
	if n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the sender got %d bytes and %v, want a reset", n, err)
	}
}

// Each bad header costs its own connection; a session that is there, and the next
// good one, do not notice.
func TestBadHeadersOnControl(t *testing.T) {
	fc := openForecourt(t, nil)
	neighbour := fc.session(otherAddr)
	before := fc.wantSockets(3)
	want := make(map[string]int)
	for _, bad := range badHeaders(fc.at) {
		t.Run(bad.name, func(t *testing.T) {
			conn := fc.connect(bad.from, fc.at, bad.sends)
			if bad.end != nil {
				bad.end(conn)
			}
			wantSentAway(t, conn)
			want[bad.reason]++
			fc.wantRefused(want)
			fc.wantSockets(before)
			neighbour.noop()
		})
	}
	fc.session(clientAddr).bye()
	neighbour.bye()
	if n := strings.Count(fc.logs.String(), `"session started"`); n != 2 {
		t.Errorf("%d sessions began, want 2", n)
	}
}

// On a data port they do not touch the lease, either.
func TestBadHeadersOnData(t *testing.T) {
	fc := openForecourt(t, nil)
	th := fc.session(clientAddr)
	at, server := th.leased()
	before := fc.wantSockets(5)
	want, strangers := make(map[string]int), 0
	bads := append(badHeaders(at),
		badHeader{name: "v1 UNKNOWN", from: trusted, sends: "PROXY UNKNOWN\r\n", reason: "local"},
		badHeader{name: "v2 LOCAL", from: trusted, sends: signatureV2 + "\x20\x00\x00\x00", reason: "local"})
	for _, bad := range bads {
		t.Run(bad.name, func(t *testing.T) {
			conn := fc.connect(bad.from, at, bad.sends)
			if bad.end != nil {
				bad.end(conn)
			}
			wantSentAway(t, conn)
			if bad.reason == "untrusted" { // Whoever comes to a data port from no trusted proxy is a stranger.
				strangers++
			} else {
				want[bad.reason]++
			}
			fc.wantRefused(want)
			fc.wantStrangers(strangers)
			fc.wantSockets(before)
			if n := fc.pending(); n != 1 {
				t.Errorf("%d ports are on loan, want that one", n)
			}
			th.noop()
		})
	}
	t.Run("another client", func(t *testing.T) {
		wantSentAway(t, fc.connect(trusted, at, header(otherAddr, at)+"foreign data"))
		fc.wantRefused(want)
		fc.wantStrangers(strangers + 1)
		fc.wantSockets(before)
	})
	conn := fc.connect(trusted, at, header(clientAddr, at)+"hello")
	th.sends(conn, server, []byte("hello"))
	th.wantLog(`"result":"ok"`, `"bytes":5`)
	th.bye()
}

// Headers that do not come, wholly or in part, are waited for as long as the timer
// says.
func TestSlowHeaders(t *testing.T) {
	const short = 50 * time.Millisecond
	// Each is sent before the timer ends, or not: it is too little in any case.
	v2 := headerV2(clientAddr, netip.MustParseAddrPort("127.0.0.1:21"), "")
	parts := []string{"", "P", "PROXY TCP4 198.51.100.7 ", v2[:5], v2[:15], v2[:len(v2)-1], startV2(100) + v2[16:]}
	t.Run("control", func(t *testing.T) {
		fc := openForecourt(t, nil)
		neighbour := fc.session(otherAddr)
		before := fc.wantSockets(3)
		fc.conf.Timeouts.ProxyHeader = short
		fc.apply()
		for i, part := range parts {
			wantSentAway(t, fc.connect(trusted, fc.at, part))
			fc.wantRefused(map[string]int{"timeout": i + 1})
		}
		fc.wantSockets(before)
		fc.conf.Timeouts.ProxyHeader = never
		fc.apply()
		fc.session(clientAddr).bye()
		neighbour.bye()
	})
	t.Run("data", func(t *testing.T) {
		// The control connection has none, which the timer could end.
		fc := openForecourt(t, func(c *config.Config) {
			c.Frontends[0].ProxyProtocol = false
			c.Timeouts.ProxyHeader = short
		})
		th := fc.login(fc.connect(trusted, fc.at, ""))
		at, server := th.leased()
		before := fc.wantSockets(5)
		for i, part := range parts {
			wantSentAway(t, fc.connect(trusted, at, part))
			fc.wantRefused(map[string]int{"timeout": i + 1})
			if n := fc.pending(); n != 1 {
				t.Errorf("%d ports are on loan, want that one", n)
			}
		}
		fc.wantSockets(before)
		th.bye()
		_ = server.Close()
		fc.await("the port is given back", func() bool { return fc.pending() == 0 })
	})
}

// dribble sends the first bytes one by one, each when the one before it was read,
// and then the rest.
func dribble(t *testing.T, conn *net.TCPConn, text string, singly int) {
	t.Helper()
	here, there := tcp.AddrPort(conn.LocalAddr()), tcp.AddrPort(conn.RemoteAddr())
	for i := range singly {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(socketTimeout); !allRead(t, there, here, tcpEstablished); {
			if time.Now().After(deadline) {
				t.Fatalf("byte %d is not read", i)
			}
		}
	}
	if _, err := conn.Write([]byte(text[singly:])); err != nil {
		t.Fatal(err)
	}
}

// Good headers, however they come. What follows is the client's, to the byte.
func TestGoodHeaders(t *testing.T) {
	goods := []struct {
		name string
		text func(client, local netip.AddrPort) string
	}{
		{"v1", header},
		{"v2", func(client, local netip.AddrPort) string { return headerV2(client, local, "") }},
		{"v2 with 4 KB of TLVs", func(client, local netip.AddrPort) string {
			return headerV2(client, local, tlv(0xe0, 3000)+tlv(0x04, 1000))
		}},
		{"v2 with TLVs that are none", func(client, local netip.AddrPort) string { return headerV2(client, local, "\x02\xff") }},
	}
	for _, good := range goods {
		for _, pieces := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", good.name, pieces), func(t *testing.T) {
				fc := openForecourt(t, nil)
				sends := func(to netip.AddrPort, header, rest string) *net.TCPConn {
					if !pieces {
						return fc.connect(trusted, to, header+rest)
					}
					conn := fc.connect(trusted, to, "")
					// The last byte comes with what follows.
					dribble(t, conn, header+rest, min(len(header)-1, 60))
					return conn
				}
				th := fc.login(sends(fc.at, good.text(clientAddr, fc.at), ""))
				at, server := th.leased()
				const file = "PROXY is what this file begins with\r\n"
				th.sends(sends(at, good.text(clientAddr, at), file), server, []byte(file))
				th.wantLog(`"client":"198.51.100.7:40000"`, `"client_data":"198.51.100.7:40000"`, `"result":"ok"`, `"bytes":37`)
				th.bye()
				fc.wantRefused(map[string]int{})
			})
		}
	}
}

// The header and the first payload in one segment, and then more than any buffer
// holds: every byte arrives, is counted, and all of them are spliced; also the
// other way.
func TestPayloadBehindHeader(t *testing.T) {
	big := bytes.Repeat(payload, 8)
	for _, text := range []func(client, local netip.AddrPort) string{
		header, func(client, local netip.AddrPort) string { return headerV2(client, local, tlv(0xe0, 100)) },
	} {
		t.Run("upload", func(t *testing.T) {
			fc := openForecourt(t, nil)
			th := fc.session(clientAddr)
			at, server := th.leased()
			conn := fc.connect(trusted, at, "")
			go func() {
				_, _ = conn.Write(append([]byte(text(clientAddr, at)), big...))
				_ = conn.CloseWrite()
			}()
			th.begin("STOR f")
			wantData(t, "server", server, big)
			_ = server.Close()
			th.server.say("226 done")
			th.client.hear("226")
			th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(big)))
			th.bye()
		})
		t.Run("download", func(t *testing.T) {
			fc := openForecourt(t, nil)
			th := fc.session(clientAddr)
			at, server := th.leased()
			conn := fc.connect(trusted, at, text(clientAddr, at))
			go func() {
				_, _ = server.Write(big)
				_ = server.CloseWrite()
			}()
			th.begin("RETR f")
			wantData(t, "client", conn, big)
			_ = conn.Close()
			th.server.say("226 done")
			th.client.hear("226")
			th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(big)))
			th.bye()
		})
	}
}

// Many headers that do not come delay nobody, on control or on data.
func TestManySlowHeaders(t *testing.T) {
	const many = 300
	fc := openForecourt(t, nil)
	var slow []*net.TCPConn
	for range many {
		slow = append(slow, fc.connect(trusted, fc.at, "PROXY TCP4 "))
	}
	th := fc.session(clientAddr)
	at, server := th.leased()
	for range many {
		slow = append(slow, fc.connect(trusted, at, ""))
	}
	th.sends(fc.connect(trusted, at, header(clientAddr, at)+"hello"), server, []byte("hello"))
	th.wantLog(`"result":"ok"`, `"bytes":5`)
	for _, conn := range slow {
		_ = conn.Close()
	}
	fc.await("all are refused", func() bool {
		refused := fc.refused()
		return refused["missing"]+refused["invalid"]+refused["unwanted"] == 2*many
	})
	fc.session(otherAddr).bye()
	th.bye()
}

// Resets and urgent data pass through a connection that has a header.
func TestResetBehindHeader(t *testing.T) {
	fc := openForecourt(t, nil)
	th := fc.session(clientAddr)
	for _, who := range []string{"client", "server"} {
		at, server := th.leased()
		conn := fc.connect(trusted, at, header(clientAddr, at)+"part")
		th.begin("STOR f")
		if _, err := io.ReadFull(server, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		if who == "client" {
			reset(conn)
			wantReset(t, "server", server)
			th.server.say("426 broken")
		} else {
			reset(server)
			wantReset(t, "client", conn)
			th.server.say("451 disk full")
		}
		th.client.hear("4")
	}
	th.bye()
}
