package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
	"ftproxy/rewrite"
)

// reusing is a frontend whose clients' data connections must resume their session.
func reusing(version uint16) func(c *config.Config) { return withReuse(config.ReuseRequire, version) }

// withReuse is one with that session_reuse, under that version of TLS.
func withReuse(reuse config.SessionReuse, version uint16) func(c *config.Config) {
	return func(c *config.Config) {
		t := &c.Frontends[0].TLS
		t.Mode, t.SessionReuse, t.MaxVersion = config.TLSOptional, reuse, version
	}
}

// requiredIf is session_reuse as a boolean has it.
func requiredIf(reuse bool) config.SessionReuse {
	if reuse {
		return config.ReuseRequire
	}
	return config.ReuseOff
}

// bothVersions runs a test under TLS 1.2 and 1.3.
func bothVersions(t *testing.T, test func(t *testing.T, version uint16)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			test(t, version)
		})
	}
}

// ready plays all until a client under TLS may transfer.
func (s *tlsStage) ready() {
	s.t.Helper()
	s.greet(config.TLSOptional, config.TLSOff)
	s.client.hear("220")
	s.authenticate("P")
	s.logIn()
}

// TestSessionReuse: clients that resume their control connection's session work, in
// all modes, as often as they like.
func TestSessionReuse(t *testing.T) {
	bothVersions(t, func(t *testing.T, version uint16) {
		for _, j := range jointsOf(0) {
			t.Run(j.String(), func(t *testing.T) {
				t.Parallel()
				s := enact(t, j, reusing(version))
				s.ready()
				for range 3 {
					client, _ := s.transfer(transfer.Download, bytes.Repeat([]byte("d"), 100_000))
					if !client.resumed {
						t.Error("the client's data connection is a TLS session of its own")
					}
					s.transfer(transfer.Upload, bytes.Repeat([]byte("u"), 100_000))
				}
			})
		}
	})
}

// passivePort agrees on a data connection that nobody has made yet.
func (s *tlsStage) passivePort() (at string, inside *net.TCPListener) {
	s.t.Helper()
	l := listenLoopback(s.t)
	s.client.say("PASV")
	s.server.hear("PASV")
	s.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
	addr, err := rewrite.ParsePASV(s.client.hear("227"))
	if err != nil {
		s.t.Fatal(err)
	}
	return addr.String(), l
}

// A steal is what a thief at a data port comes to: it connects from the client's own
// address, before the client.
func (s *tlsStage) steal(at string, c *tls.Config) (got []byte) {
	s.t.Helper()
	conn := dialLoopback(s.t, at)
	_ = conn.SetDeadline(time.Now().Add(socketTimeout))
	defer conn.Close()
	if c == nil {
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		got, _ = io.ReadAll(conn)
		return got
	}
	secured := tls.Client(conn, c)
	if secured.Handshake() != nil {
		return nil
	}
	got, _ = io.ReadAll(secured)
	return got
}

// TestThief: a stranger at the client's own address gets nothing from its data
// port, however it tries, and the client gets all. Where reuse is not required the
// thief who is faster gets the file: that is what the setting is for.
func TestThief(t *testing.T) {
	bothVersions(t, func(t *testing.T, version uint16) {
		s := enact(t, straight("passive"), reusing(version))
		s.ready()
		another := s.user() // who has a session of its own, with a ticket
		other := &tlsStage{harness: &harness{t: t, process: s.process, logs: s.logs}, atDoor: s.atDoor, joint: s.joint, asUser: another, asHost: s.asHost}
		other.ready()
		fresh := s.user()
		for name, thief := range map[string]*tls.Config{"no TLS": nil, "no ticket": fresh, "another's ticket": another} {
			at, inside := s.passivePort()
			if got := s.steal(at, thief); len(got) > 0 && thief != nil {
				t.Errorf("a thief with %s is given %q", name, got)
			}
			toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
			s.begin("RETR file")
			s.deliver(transfer.Download, []byte("secret"), toClient, toServer)
		}
		scrape := s.scrape()
		if want := `ftproxy_data_reuse_refused_total{frontend="public"} 2`; !strings.Contains(scrape, want) {
			t.Errorf("no %s in the metrics; the log:\n%s", want, s.logs)
		}
		if !strings.Contains(s.logs.String(), "data connection without its TLS session refused") {
			t.Error("nothing of it in the log")
		}
	})
	t.Run("not required", func(t *testing.T) {
		s := enact(t, straight("passive"), optional)
		s.ready()
		at, inside := s.passivePort()
		stolen := make(chan []byte, 1)
		thief := s.user()
		go func() { stolen <- s.steal(at, thief) }()
		toServer := acceptOne(t, inside)
		s.begin("RETR file")
		_, _ = toServer.Write([]byte("secret"))
		_ = toServer.Close()
		if got := <-stolen; string(got) != "secret" {
			t.Errorf("the thief is given %q", got)
		}
		s.server.say("226 done")
		s.client.hear("226")
	})
}

func (s *tlsStage) scrape() string {
	s.t.Helper()
	page := httptest.NewRecorder()
	s.process.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	return page.Body.String()
}

// TestReuseRefused: a client that does not resume is told so (RFC 4217 §10), soon
// where it came to us, at once where we went to it.
func TestReuseRefused(t *testing.T) {
	for _, mode := range []string{"passive", "active"} {
		bothVersions(t, func(t *testing.T, version uint16) {
			s := enact(t, straight(mode), func(c *config.Config) {
				reusing(version)(c)
				c.Timeouts.Linger = 10 * time.Millisecond
			})
			s.ready()
			toClient, toServer := s.openBehind(func(*net.TCPConn) {}, transfer.Download, s.joint, "RETR file")
			client := s.play(toClient, tls.Client(toClient, s.user()), nil)
			<-client.done
			if len(client.got) > 0 {
				t.Errorf("it is given %q", client.got)
			}
			wantReset(t, "server", toServer)
			s.server.say("426 aborted")
			s.client.hear("522 ")
		})
	}
}

// TestOnePortForAll: clients behind one address share one port, because their TLS
// sessions tell them apart. None of them waits.
func TestOnePortForAll(t *testing.T) {
	bothVersions(t, func(t *testing.T, version uint16) {
		first := enact(t, straight("passive"), reusing(version))
		first.ready()
		all := []*tlsStage{first}
		for range 4 {
			s := &tlsStage{harness: &harness{t: t, process: first.process, logs: first.logs}, atDoor: first.atDoor, joint: first.joint, front: first.front, asHost: first.asHost}
			s.asUser = s.user()
			s.ready()
			all = append(all, s)
		}
		var at string
		inside := make([]*net.TCPListener, len(all))
		for i, s := range all {
			var where string
			if where, inside[i] = s.passivePort(); at != "" && where != at {
				t.Errorf("the port is %s, then %s", at, where)
			}
			at = where
		}
		for i := len(all) - 1; i >= 0; i-- {
			s := all[i]
			toServer, toClient := acceptOne(t, inside[i]), dialLoopback(t, at)
			s.begin("RETR file")
			s.deliver(transfer.Download, []byte{'f', 'o', 'r', byte('0' + i)}, toClient, toServer)
		}
	})
}
