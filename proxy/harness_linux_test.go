package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
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
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
	"ftproxy/rewrite"
)

// Resets, half-closes, acknowledgements and urgent data are what real sockets
// make of them, so here both peers are scripts on loopback.

const (
	// socketTimeout bounds every wait of a test. It is there to end one that
	// hangs, not to measure: the machine may stand still for seconds.
	socketTimeout = time.Minute
	// never is what a timer is set to that must not be what ends anything: who
	// waits for it fails at socketTimeout.
	never = 10 * socketTimeout
)

// A harness is a proxy between a client and a server that the test plays.
type harness struct {
	t      *testing.T
	client *actor
	server *actor
	logs   *lockedBuffer

	process *Process
	sockets *witness
	agreed  transfer.Modes // of the last data connection
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
	w    io.Writer // conn, or TLS over it
	r    *bufio.Reader
}

func newActor(t *testing.T, name string, conn net.Conn) *actor {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	return &actor{t: t, name: name, conn: conn.(*net.TCPConn), w: conn, r: bufio.NewReader(conn)}
}

func (a *actor) say(line string) {
	a.t.Helper()
	if _, err := a.w.Write([]byte(line + "\r\n")); err != nil {
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

// play starts a proxy and logs a client in. Timeouts that a test does not set are
// never.
func play(t *testing.T, change func(*config.Config)) *harness {
	t.Helper()
	noGoroutineStays(t)
	return playBeside(t, change)
}

// noGoroutineStays expects that the test's goroutines have ended when it ends.
// goleak's own patience is less than half a second.
func noGoroutineStays(t *testing.T) {
	t.Helper()
	others := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		var err error
		for deadline := time.Now().Add(socketTimeout); time.Now().Before(deadline); {
			if err = goleak.Find(others); err == nil {
				return
			}
		}
		t.Error(err)
	})
}

// playBeside is play for tests that run side by side: it does not look at goroutines,
// which are everybody's.
func playBeside(t *testing.T, change func(*config.Config)) *harness {
	t.Helper()
	return playJoint(t, straight("passive"), change)
}

// playJoint is playBeside with peers of these families, and the backend's mode.
func playJoint(t *testing.T, j joint, change func(*config.Config)) *harness {
	t.Helper()
	th, serverAt := emptyStage(t, j, change)
	for _, at := range th.process.Addrs() {
		th.client = newActor(t, "client", dialLoopback(t, at.String()))
	}
	th.server = newActor(t, "server", acceptOne(t, serverAt))
	th.server.say("220 ready")
	th.client.hear("220")
	th.logIn()
	return th
}

// logIn plays a login without a password.
func (th *harness) logIn() {
	th.t.Helper()
	th.client.say("USER anna")
	th.server.hear("USER anna")
	th.server.say("230 in")
	th.client.hear("230")
}

// emptyStage is a proxy in front of a server that nobody has connected to yet.
func emptyStage(t *testing.T, j joint, change func(*config.Config)) (*harness, *net.TCPListener) {
	t.Helper()
	serverAt := listenOn(t, j.server6)
	addr := serverAt.Addr().(*net.TCPAddr).AddrPort()
	c := &config.Config{
		Timeouts: config.Timeouts{
			Connect: never, Greeting: never, Login: never, Idle: never, Reply: never, FinalReply: never,
			PortWait: never, DataConnect: never, DataStall: never, ClientWrite: never, ProxyHeader: never, TLSHandshake: never, Linger: never, Drain: never,
		},
		Frontends: []config.Frontend{{
			Name: "public", Listen: []netip.AddrPort{netip.AddrPortFrom(loopback(j.client6), 0)},
			PublicAddress: config.PublicAddress{Auto: true}, PassivePorts: freePort(t), Backend: "inside",
		}},
		Backends: []config.Backend{{
			Name: "inside", Servers: []config.Server{{Host: addr.Addr().String(), Port: addr.Port()}},
			Data: j.data(), DataPorts: freePort(t),
		}},
	}
	if change != nil {
		change(c)
	}
	th := &harness{t: t, logs: &lockedBuffer{}, sockets: &witness{}}
	p := New(Options{Network: th.sockets, Log: zerolog.New(th.logs), Metrics: metrics.New("test")})
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
	return th, serverAt
}

// A witness is the network of the machine. It knows every socket that the proxy
// has opened, so it tells which of them are still open, whatever other tests do;
// and no collector closes what the proxy forgets.
type witness struct {
	tcp.Network
	mu  sync.Mutex
	all []syscall.Conn
}

func (w *witness) saw(socket any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, socket.(syscall.Conn))
}

// open counts the sockets that are open.
func (w *witness) open() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, socket := range w.all {
		raw, err := socket.SyscallConn()
		if err == nil && raw.Control(func(uintptr) {}) == nil {
			n++
		}
	}
	return n
}

func (w *witness) Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error) {
	return w.listens(w.Network.Listen(addr, beside...))
}

func (w *witness) ListenData(at tcp.Local) (net.Listener, error) {
	return w.listens(w.Network.ListenData(at))
}

func (w *witness) listens(l net.Listener, err error) (net.Listener, error) {
	if err != nil {
		return nil, err
	}
	w.saw(l)
	return witnessed{l, w}, nil
}

func (w *witness) Dial(ctx context.Context, local tcp.Local, remote netip.AddrPort) (net.Conn, error) {
	conn, err := w.Network.Dial(ctx, local, remote)
	if err == nil {
		w.saw(conn)
	}
	return conn, err
}

// witnessed is a listener whose connections are seen.
type witnessed struct {
	net.Listener
	by *witness
}

func (l witnessed) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.by.saw(conn)
	}
	return conn, err
}

func (l witnessed) Queued() (conns []net.Conn) {
	if q, ok := l.Listener.(interface{ Queued() []net.Conn }); ok {
		conns = q.Queued()
	}
	for _, conn := range conns {
		l.by.saw(conn)
	}
	return conns
}

func listenLoopback(t *testing.T) *net.TCPListener {
	t.Helper()
	return listenOn(t, false)
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
	conn, err := net.DialTimeout("tcp", addr, socketTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// given are the ports that freePort has handed out to running tests.
var given sync.Map

// freePort is a range of one port that nobody listens on. It lies below those
// that the kernel gives to outgoing connections, and below the ranges that are the
// default, which tests of other packages use at the same time.
func freePort(t testing.TB) config.PortRange {
	t.Helper()
	for range 1000 {
		port := uint16(20000 + rand.IntN(10000))
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		t.Cleanup(func() { given.Delete(port) })
		if listens(false, port) && (!haveIPv6() || listens(true, port)) {
			return config.PortRange{First: port, Last: port}
		}
	}
	t.Fatal("no free port")
	return config.PortRange{}
}

func listens(ipv6 bool, port uint16) bool {
	l, err := net.Listen("tcp", netip.AddrPortFrom(loopback(ipv6), port).String())
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// passive agrees on a passive data connection and opens both of its ends.
func (th *harness) passive() (client, server *net.TCPConn) {
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

// begin plays a transfer command that the server accepts.
func (th *harness) begin(command string) {
	th.t.Helper()
	th.client.say(command)
	th.server.hear(command)
	th.server.say("150 go")
	th.client.hear("150")
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
func (th *harness) wantLog(fields ...string) {
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
