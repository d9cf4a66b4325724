package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// beside is another client's stage at the process of s.
func (s *tlsStage) beside() *tlsStage {
	other := &tlsStage{harness: &harness{t: s.t, process: s.process, logs: s.logs}, atDoor: s.atDoor, joint: s.joint, front: s.front, asHost: s.asHost}
	other.asUser = other.user()
	return other
}

// TestNeighbourAtFault: where a client behind the same address does not resume, the
// others on its port lose nothing.
func TestNeighbourAtFault(t *testing.T) {
	first := enact(t, straight("passive"), func(c *config.Config) {
		reusing(tls.VersionTLS13)(c)
		c.Timeouts.Linger = time.Millisecond
	})
	first.ready()
	second := first.beside()
	second.ready()
	at, _ := first.passivePort()
	_, inside := second.passivePort()
	if got := first.steal(at, first.user()); len(got) > 0 {
		t.Errorf("it is given %q", got)
	}
	toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
	second.begin("RETR file")
	second.deliver(transfer.Download, []byte("for the second"), toClient, toServer)
}

// TestHandshakeAfterALongWait: a client that is here may take its time before its
// command, and the server before its 150, also where the client's handshake, which
// tells whose it is, comes only then.
func TestHandshakeAfterALongWait(t *testing.T) {
	const limit = 3 * time.Second
	for _, slow := range []string{"the command", "150"} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reuse %v", slow, reuse), func(t *testing.T) {
				t.Parallel()
				s := enact(t, straight("passive"), func(c *config.Config) {
					c.Frontends[0].TLS.Mode, c.Frontends[0].TLS.SessionReuse = config.TLSOptional, requiredIf(reuse)
					c.Timeouts.DataConnect = limit
				})
				s.ready()
				at, inside := s.passivePort()
				toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
				if slow == "the command" {
					<-time.After(limit + time.Second)
				}
				s.client.say("RETR file")
				s.server.hear("RETR file")
				if slow == "150" {
					<-time.After(limit + time.Second)
				}
				s.server.say("150 go")
				s.client.hear("150")
				s.deliver(transfer.Download, []byte("content"), toClient, toServer)
			})
		}
	}
}

// TestSilentDataConnections: those that nobody knows the owner of end with the data
// connection that they might have been, and are not many.
func TestSilentDataConnections(t *testing.T) {
	s := enact(t, straight("passive"), reusing(tls.VersionTLS13))
	s.ready()
	at, inside := s.passivePort()
	const places = 17 // 16, and one for the data connection that is due
	all := make([]net.Conn, 3*places)
	for i := range all {
		all[i] = dialLoopback(t, at)
	}
	ended := func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(socketTimeout))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("a silent connection gets %d bytes (%v)", n, err)
		}
	}
	for _, c := range all[:2*places] { // The oldest make room.
		ended(c)
	}
	_ = acceptOne(t, inside)
	s.client.say("ABOR")
	s.server.hear("ABOR")
	s.server.say("225 nothing to abort")
	s.client.hear("225")
	for _, c := range all[2*places:] {
		ended(c)
	}
}

// TestPROTWhileIdentifying: what tells whose a connection is looks at nothing that
// the session changes meanwhile (a matter of the race detector).
func TestPROTWhileIdentifying(t *testing.T) {
	s := enact(t, straight("passive"), reusing(tls.VersionTLS13))
	s.ready()
	for range 5 {
		at, inside := s.passivePort()
		silent := dialLoopback(t, at)
		for _, level := range []string{"C", "P"} {
			s.client.say("PROT " + level)
			s.client.hear("200")
		}
		_, _ = silent.Close(), inside.Close()
	}
}

// TestClearAndProtectedBehindOneProxy: their data connections are told apart in
// different ways, so they do not share a port; where there is but one, they take
// turns.
func TestClearAndProtectedBehindOneProxy(t *testing.T) {
	clear := enact(t, straight("passive"), func(c *config.Config) {
		f := &c.Frontends[0]
		f.TLS.Mode, f.TLS.SessionReuse = config.TLSOptional, config.ReuseRequire
		f.ProxyProtocol, f.DataProxyProtocol = true, true
		f.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		f.PassiveBind.IPv4 = netip.MustParseAddr("127.0.0.1")
		f.PassivePorts = config.PortRange{First: 1, Last: 0}
		for f.PassivePorts.Len() != 2 { // Two neighbouring ports that are free.
			first := freePort(t)
			if listens(false, first.First+1) {
				f.PassivePorts = config.PortRange{First: first.First, Last: first.First + 1}
			}
		}
	})
	secured := clear.beside()
	header := func(host int) string { return fmt.Sprintf("PROXY TCP4 192.0.2.%d 203.0.113.9 4000 21\r\n", host) }
	transfers := make(map[*tlsStage]func())
	for i, s := range []*tlsStage{clear, secured} {
		s.client = s.arrive()
		_, _ = io.WriteString(s.client.conn, header(i))
		s.server = newActor(t, "server", acceptOne(t, s.atDoor))
		s.server.say("220 ready")
		s.client.hear("220")
		if s == secured {
			s.authenticate("P")
		}
		s.logIn()
		l := listenLoopback(t)
		s.client.say("EPSV")
		s.server.hear("EPSV")
		s.server.say(fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", tcp.AddrPort(l.Addr()).Port()))
		at := "127.0.0.1:" + strings.Split(s.client.hear("229"), "|")[3]
		transfers[s] = func() {
			toServer, toClient := acceptOne(t, l), dialLoopback(t, at)
			_, _ = io.WriteString(toClient, header(i))
			s.begin("STOR file")
			s.deliver(transfer.Upload, bytes.Repeat([]byte{byte(i)}, 1000), toClient, toServer)
		}
	}
	transfers[secured]()
	transfers[clear]()
}

// TestStrangersInTheWay: silent connections to a data port, whoever makes them and
// however many they are, keep no client from its transfer where session reuse is
// required: others' are reset at once, and of those from the client's own address the
// oldest makes room.
func TestStrangersInTheWay(t *testing.T) {
	for _, from := range []string{"127.0.0.9", "127.0.0.1"} {
		for _, n := range []int{16, 40, 1000} {
			t.Run(fmt.Sprintf("%d from %s", n, from), func(t *testing.T) {
				s := enact(t, straight("passive"), reusing(tls.VersionTLS13))
				s.ready()
				at, inside := s.passivePort()
				toServer := acceptOne(t, inside)
				s.crowd(at, from, n)
				toClient := dialLoopback(t, at)
				if from == "127.0.0.9" { // Those change nothing for a client that is here.
					s.crowd(at, from, n)
				}
				s.begin("RETR file")
				s.deliver(transfer.Download, []byte("content"), toClient, toServer)
			})
		}
	}
	t.Run("the client tries again", func(t *testing.T) {
		s := enact(t, straight("passive"), reusing(tls.VersionTLS13))
		s.ready()
		at, inside := s.passivePort()
		toServer, first := acceptOne(t, inside), dialLoopback(t, at)
		s.crowd(at, "127.0.0.1", 1000)
		_ = first.SetReadDeadline(time.Now().Add(socketTimeout))
		if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the oldest connection has not made room: %v", err)
		}
		toClient := dialLoopback(t, at)
		s.begin("RETR file")
		s.deliver(transfer.Download, []byte("content"), toClient, toServer)
	})
}

// crowd makes n silent connections.
func (s *tlsStage) crowd(at, from string, n int) {
	s.t.Helper()
	dialer := net.Dialer{Timeout: socketTimeout, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	for range n {
		conn, err := dialer.Dial("tcp", at)
		if errors.Is(err, syscall.ECONNRESET) {
			continue // It was rejected before its connect returned.
		}
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { conn.Close() })
	}
}
