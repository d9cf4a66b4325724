package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"ftproxy/config"
	"ftproxy/internal/metrics"
	"ftproxy/rewrite"
)

// Resets, half-closes, acknowledgements and urgent data are what real sockets
// make of them, so here both peers are scripts on loopback.

// socketTimeout bounds every wait for a peer; a test that reaches it fails.
const socketTimeout = 10 * time.Second

// A theatre is a proxy between a client and a server that the test plays.
type theatre struct {
	t      *testing.T
	client *actor
	server *actor
	logs   *lockedBuffer

	process *Process
}

// lockedBuffer is what the proxy logs to while the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// An actor is one end of a control connection.
type actor struct {
	t    *testing.T
	name string
	conn *net.TCPConn
	r    *bufio.Reader
}

func newActor(t *testing.T, name string, conn net.Conn) *actor {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	return &actor{t: t, name: name, conn: conn.(*net.TCPConn), r: bufio.NewReader(conn)}
}

func (a *actor) say(line string) {
	a.t.Helper()
	if _, err := a.conn.Write([]byte(line + "\r\n")); err != nil {
		a.t.Fatalf("%s says %q: %v", a.name, line, err)
	}
}

// hear expects a line that begins so.
func (a *actor) hear(prefix string) string {
	a.t.Helper()
	_ = a.conn.SetReadDeadline(time.Now().Add(socketTimeout))
	line, err := a.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, prefix) {
		a.t.Fatalf("%s hears %q (%v), want %q", a.name, line, err, prefix)
	}
	return strings.TrimRight(line, "\r\n")
}

// hearEnd expects the end of the connection.
func (a *actor) hearEnd() {
	a.t.Helper()
	_ = a.conn.SetReadDeadline(time.Now().Add(socketTimeout))
	if line, err := a.r.ReadString('\n'); err != io.EOF {
		a.t.Fatalf("%s hears %q (%v), want the end", a.name, line, err)
	}
}

// play starts a proxy and logs a client in.
func play(t *testing.T, change func(*config.Config)) *theatre {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })

	serverAt := listenLoopback(t)
	addr := serverAt.Addr().(*net.TCPAddr).AddrPort()
	c := &config.Config{
		Timeouts: config.Timeouts{
			Connect: socketTimeout, Greeting: socketTimeout, Login: socketTimeout, Idle: time.Minute,
			Reply: socketTimeout, FinalReply: socketTimeout, PortWait: time.Second,
			DataConnect: socketTimeout, DataStall: socketTimeout, ClientWrite: socketTimeout,
			Linger: time.Second, Drain: socketTimeout,
		},
		Frontends: []config.Frontend{{
			Name: "public", Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
			PublicAddress: config.PublicAddress{Auto: true}, PassivePorts: freePort(t), Backend: "inside",
		}},
		Backends: []config.Backend{{
			Name: "inside", Servers: []config.Server{{Host: "127.0.0.1", Port: addr.Port()}}, DataPorts: freePort(t),
		}},
	}
	if change != nil {
		change(c)
	}
	th := &theatre{t: t, logs: &lockedBuffer{}}
	p := New(Options{Network: TCP{}, Log: zerolog.New(th.logs), Metrics: metrics.New("test")})
	th.process = p
	if err := p.Apply(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if t.Failed() {
			t.Log(th.logs)
		}
	})
	for _, at := range p.Addrs() {
		conn, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		th.client = newActor(t, "client", conn)
	}
	th.server = newActor(t, "server", acceptOne(t, serverAt))
	th.server.say("220 ready")
	th.client.hear("220")
	th.client.say("USER anna")
	th.server.hear("USER anna")
	th.server.say("230 in")
	th.client.hear("230")
	return th
}

func listenLoopback(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func acceptOne(t *testing.T, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	_ = l.SetDeadline(time.Now().Add(socketTimeout))
	conn, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func dialLoopback(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp4", addr, socketTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// given are the ports that freePort has handed out to running tests.
var given sync.Map

// freePort is a range of one port that nobody listens on. It lies below those
// that the kernel gives to outgoing connections: one of another test could take
// such a port meanwhile.
func freePort(t *testing.T) config.PortRange {
	t.Helper()
	for range 1000 {
		port := uint16(20000 + rand.IntN(12000))
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		t.Cleanup(func() { given.Delete(port) })
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		return config.PortRange{First: port, Last: port}
	}
	t.Fatal("no free port")
	return config.PortRange{}
}

// passive agrees on a passive data connection and opens both of its ends.
func (th *theatre) passive() (client, server *net.TCPConn) {
	th.t.Helper()
	l := listenLoopback(th.t)
	th.client.say("PASV")
	th.server.hear("PASV")
	th.server.say(rewrite.FormatPASV(l.Addr().(*net.TCPAddr).AddrPort()))
	at, err := rewrite.ParsePASV(th.client.hear("227"))
	if err != nil {
		th.t.Fatal(err)
	}
	server = acceptOne(th.t, l)
	return dialLoopback(th.t, at.String()), server
}

// active does the same for an active one; the client's end opens when the
// server has accepted the transfer, so command and 150 are played, too.
func (th *theatre) active(command string) (client, server *net.TCPConn) {
	th.t.Helper()
	l := listenLoopback(th.t)
	th.client.say("PORT " + rewrite.FormatPORT(l.Addr().(*net.TCPAddr).AddrPort()))
	at, err := rewrite.ParsePORT(strings.TrimPrefix(th.server.hear("PORT "), "PORT "))
	if err != nil {
		th.t.Fatal(err)
	}
	th.server.say("200 ok")
	th.client.hear("200")
	th.begin(command)
	server = dialLoopback(th.t, at.String())
	return acceptOne(th.t, l), server
}

// begin plays a transfer command that the server accepts.
func (th *theatre) begin(command string) {
	th.t.Helper()
	th.client.say(command)
	th.server.hear(command)
	th.server.say("150 go")
	th.client.hear("150")
}

// open opens a data connection in either mode and begins the transfer.
func (th *theatre) open(mode, command string) (client, server *net.TCPConn) {
	th.t.Helper()
	if mode == "active" {
		return th.active(command)
	}
	client, server = th.passive()
	th.begin(command)
	return client, server
}

// bothModes runs a test in passive and in active mode.
func bothModes(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []string{"passive", "active"} {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// wantReset expects that the peer aborts the connection.
func wantReset(t *testing.T, who string, conn *net.TCPConn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s sees %v, want a reset", who, err)
	}
}

// wantData expects exactly this and then a clean end.
func wantData(t *testing.T, who string, conn *net.TCPConn, want []byte) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s got %d bytes (%v), want %d", who, len(got), err, len(want))
	}
}

// wantLog waits for the log line of the transfer and expects these fields.
func (th *theatre) wantLog(fields ...string) {
	th.t.Helper()
	deadline := time.Now().Add(socketTimeout)
	for {
		for line := range strings.Lines(th.logs.String()) {
			if !strings.Contains(line, `"message":"transfer"`) {
				continue
			}
			for _, field := range fields {
				if !strings.Contains(line, field) {
					th.t.Errorf("the log has no %s: %s", field, line)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			th.t.Fatalf("no transfer in the log:\n%s", th.logs)
		}
		<-time.After(time.Millisecond)
	}
}
