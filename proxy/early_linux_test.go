package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// wantNoPortLeft expects that a server saw its connection reset, and that nothing of
// it is left in the kernel, where TIME_WAIT would keep our port.
func wantNoPortLeft(t *testing.T, server *net.TCPConn) {
	t.Helper()
	wantReset(t, "server", server)
	ours := kernelName(tcp.AddrPort(server.RemoteAddr()))
	if state := socketsTo(t, tcp.AddrPort(server.LocalAddr()))[ours]; state != "" {
		t.Errorf("the connection to the server is in the state %s of /proc/net/tcp", state)
	}
}

// hearReset expects that a peer sees its connection reset, with nothing before it.
func (a *actor) hearReset() {
	a.t.Helper()
	_ = a.conn.SetReadDeadline(time.Now().Add(socketTimeout))
	if line, err := a.r.ReadString('\n'); line != "" || !errors.Is(err, syscall.ECONNRESET) {
		a.t.Fatalf("%s hears %q (%v), want a reset", a.name, line, err)
	}
}

// socketsTo are the states of the IPv4 sockets with that remote end, by their local
// end, as /proc/net/tcp has them. 06 is TIME_WAIT.
func socketsTo(t *testing.T, remote netip.AddrPort) map[string]string {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[string]string)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // number, local end, remote end, state, …
		if len(f) > 3 && f[2] == kernelName(remote) {
			states[f[1]] = f[3]
		}
	}
	return states
}

func kernelName(at netip.AddrPort) string {
	b := at.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(b[:]), at.Port())
}

// earlyStages are how far a session has come when its client leaves.
var earlyStages = []struct {
	name string
	back config.TLSMode
	play func(*tlsStage)
}{
	{"before the greeting", config.TLSOff, func(s *tlsStage) {}},
	{"within the greeting", config.TLSOff, func(s *tlsStage) { s.server.say("220-ready") }},
	{"after the greeting", config.TLSOff, func(s *tlsStage) { s.server.say("220 ready"); s.client.hear("220") }},
	{"after a command", config.TLSOff, func(s *tlsStage) {
		s.server.say("220 ready")
		s.client.hear("220")
		s.client.say("USER anna")
		s.server.hear("USER anna")
		s.server.say("331 password")
		s.client.hear("331")
	}},
	{"before the handshake", config.TLSImplicit, func(s *tlsStage) {}},
	{"after the implicit handshake", config.TLSImplicit, func(s *tlsStage) { s.server.protect(tls.Server(s.server.conn, s.asHost)) }},
	{"after AUTH", config.TLSExplicit, func(s *tlsStage) { s.server.say("220 ready"); s.server.hear("AUTH TLS") }},
	{"before the explicit handshake", config.TLSExplicit, func(s *tlsStage) {
		s.server.say("220 ready")
		s.server.hear("AUTH TLS")
		s.server.say("234 go")
	}},
	{"before PBSZ is answered", config.TLSExplicit, func(s *tlsStage) {
		s.server.say("220 ready")
		s.server.hear("AUTH TLS")
		s.server.say("234 go")
		s.server.protect(tls.Server(s.server.conn, s.asHost))
		s.server.hear("PBSZ 0")
	}},
	{"after the explicit handshake", config.TLSExplicit, func(s *tlsStage) {
		s.server.say("220 ready")
		s.server.hear("AUTH TLS")
		s.server.say("234 go")
		s.server.protect(tls.Server(s.server.conn, s.asHost))
		s.level("P")
		s.client.hear("220")
		s.client.say("USER anna")
		s.server.hear("USER anna")
		s.server.say("331 password")
		s.client.hear("331")
	}},
}

// TestEarlyEndOfAClient: clients that connect and leave, as health checks do, must not
// use up our ports towards the server.
func TestEarlyEndOfAClient(t *testing.T) {
	for _, stage := range earlyStages {
		for how, leave := range map[string]func(*net.TCPConn){
			"closes": func(c *net.TCPConn) { _ = c.Close() },
			"resets": reset,
		} {
			t.Run(stage.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				s := enact(t, straight("passive"), func(c *config.Config) { c.Backends[0].TLS.Mode = stage.back })
				s.client = s.arrive()
				s.server = newActor(t, "server", acceptOne(t, s.atDoor))
				stage.play(s)
				leave(s.client.conn)
				wantNoPortLeft(t, s.server.conn)
			})
		}
	}
}

// TestFailedHandshakeOfAClient: what scans a frontend for TLS leaves no port either.
func TestFailedHandshakeOfAClient(t *testing.T) {
	s := enact(t, straight("passive"), func(c *config.Config) { c.Frontends[0].TLS.Mode = config.TLSOptional })
	s.greet(config.TLSOptional, config.TLSOff)
	s.client.hear("220")
	s.client.say("AUTH TLS")
	s.client.hear("234")
	s.client.sendRaw("this is no handshake\r\n")
	wantNoPortLeft(t, s.server.conn)
}

// TestConnectStorm: the same whenever clients leave, while the server is dialled included.
func TestConnectStorm(t *testing.T) {
	th, serverAt := emptyStage(t, straight("passive"), nil)
	// Another test may have had a server at this port, less than a minute ago.
	before := socketsTo(t, tcp.AddrPort(serverAt.Addr()))
	const clients = 300
	at := "" // of the frontend
	for _, addr := range th.process.Addrs() {
		at = addr.String()
	}
	for i := range clients {
		c := dialLoopback(t, at)
		for began := time.Now(); time.Since(began) < time.Duration(i)*5*time.Microsecond; {
			runtime.Gosched()
		}
		_ = c.Close()
	}
	for deadline := time.Now().Add(socketTimeout); strings.Count(th.logs.String(), `"message":"session ended"`) < clients; {
		if time.Now().After(deadline) {
			t.Fatalf("not all sessions end:\n%s", th.logs)
		}
		<-time.After(time.Millisecond)
	}
	for local, state := range socketsTo(t, tcp.AddrPort(serverAt.Addr())) {
		if before[local] == "" {
			t.Errorf("a connection to the server is left, in the state %s of /proc/net/tcp", state)
		}
	}
}

// TestLateEndOfAClient: after the login ends are as they were, an EOF for an EOF.
func TestLateEndOfAClient(t *testing.T) {
	th := play(t, nil)
	_ = th.client.conn.Close()
	th.server.hearEnd()
}

// TestServerEndsFirst: a server that closes first is not reset.
func TestServerEndsFirst(t *testing.T) {
	th, serverAt := emptyStage(t, straight("passive"), nil)
	for _, at := range th.process.Addrs() {
		th.client = newActor(t, "client", dialLoopback(t, at.String()))
	}
	th.server = newActor(t, "server", acceptOne(t, serverAt))
	th.server.say("220 ready")
	th.client.hear("220")
	_ = th.server.conn.CloseWrite()
	th.client.hear("421")
	th.server.hearEnd()
}
