package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"ftproxy/config"
)

// begun is a protected transfer that is under way, with both handshakes made.
func (s *tlsStage) begun(d direction) (client, server *tls.Conn) {
	s.t.Helper()
	command := map[direction]string{download: "RETR file", upload: "STOR file"}[d]
	toClient, toServer := s.openBehind(func(*net.TCPConn) {}, d, s.joint, command)
	client, server = tls.Client(toClient, s.asUser), tls.Server(toServer, s.asHost)
	for _, c := range []*tls.Conn{client, server} {
		_ = c.SetDeadline(time.Now().Add(socketTimeout))
		if err := c.Handshake(); err != nil {
			s.t.Fatal(err)
		}
	}
	return client, server
}

// protected is a stage with TLS everywhere.
func protected(t *testing.T, change func(*config.Config)) *tlsStage {
	t.Helper()
	s := enact(t, straight("passive"), func(c *config.Config) {
		c.Frontends[0].TLS.Mode, c.Backends[0].TLS.Mode = config.TLSOptional, config.TLSExplicit
		if change != nil {
			change(c)
		}
	})
	s.greet(config.TLSOptional, config.TLSExplicit)
	s.level("P")
	s.client.hear("220")
	s.authenticate("P")
	s.logIn()
	return s
}

// TestNoCloseNotify: a sender that ends TLS without saying so may have been cut. It
// is believed, and logged; or with strict_eof aborted on the other side (H75).
func TestNoCloseNotify(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 50_000)
	for _, d := range []direction{download, upload} {
		for _, strict := range []bool{false, true} {
			t.Run(map[bool]string{false: "lenient ", true: "strict "}[strict]+d.String(), func(t *testing.T) {
				t.Parallel()
				s := protected(t, func(c *config.Config) {
					c.Frontends[0].TLS.StrictEOF, c.Backends[0].TLS.StrictEOF = strict, strict
				})
				client, server := s.begun(d)
				sender, receiver := client, server
				if d == download {
					sender, receiver = server, client
				}
				if _, err := sender.Write(content); err != nil {
					t.Fatal(err)
				}
				_ = sender.NetConn().Close() // FIN alone.
				got, err := io.ReadAll(receiver)
				if strict {
					if err == nil {
						t.Errorf("the receiver gets %d bytes and a clean end", len(got))
					}
					s.server.say("226 done")
					s.client.hear("426 ")
					return
				}
				if err != nil || len(got) != len(content) {
					t.Errorf("the receiver gets %d bytes (%v)", len(got), err)
				}
				_ = receiver.Close()
				s.server.say("226 done")
				s.client.hear("226 ")
				s.wantLog(`"no_close_notify":true`)
			})
		}
	}
}

// TestProtectedAborts: a reset on one side of a protected transfer is a reset on the
// other, and never a clean end.
func TestProtectedAborts(t *testing.T) {
	for _, d := range []direction{download, upload} {
		for _, from := range []string{"client", "server"} {
			t.Run(from+" "+d.String(), func(t *testing.T) {
				t.Parallel()
				s := protected(t, nil)
				client, server := s.begun(d)
				sender, receiver := client, server
				if d == download {
					sender, receiver = server, client
				}
				if _, err := sender.Write([]byte("a part")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(receiver, make([]byte, 6)); err != nil {
					t.Fatal(err)
				}
				gone, other := client, server
				if from == "server" {
					gone, other = server, client
				}
				reset(gone.NetConn().(*net.TCPConn))
				wantReset(t, "the other", other.NetConn().(*net.TCPConn))
				s.server.say("426 aborted")
				s.client.hear("426 ")
			})
		}
	}
}
