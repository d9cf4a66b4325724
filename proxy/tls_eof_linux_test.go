package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/transfer"
)

// begun is a protected transfer that is under way, with both handshakes made.
func (s *tlsStage) begun(d transfer.Direction) (client, server *tls.Conn) {
	s.t.Helper()
	command := map[transfer.Direction]string{transfer.Download: "RETR file", transfer.Upload: "STOR file"}[d]
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
	for _, d := range []transfer.Direction{transfer.Download, transfer.Upload} {
		for _, strict := range []bool{false, true} {
			t.Run(map[bool]string{false: "lenient ", true: "strict "}[strict]+d.String(), func(t *testing.T) {
				t.Parallel()
				s := protected(t, func(c *config.Config) {
					c.Frontends[0].TLS.StrictEOF, c.Backends[0].TLS.StrictEOF = strict, strict
				})
				client, server := s.begun(d)
				sender, receiver := client, server
				if d == transfer.Download {
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
	for _, d := range []transfer.Direction{transfer.Download, transfer.Upload} {
		for _, from := range []string{"client", "server"} {
			t.Run(from+" "+d.String(), func(t *testing.T) {
				t.Parallel()
				s := protected(t, nil)
				client, server := s.begun(d)
				sender, receiver := client, server
				if d == transfer.Download {
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

// TestCompleteBeforeTheHandshake: a server that calls the transfer complete while our
// handshake with it is on its way has sent a file all the same, not an empty one.
func TestCompleteBeforeTheHandshake(t *testing.T) {
	s := protected(t, nil)
	toClient, toServer := s.openBehind(func(*net.TCPConn) {}, transfer.Download, s.joint, "RETR file")
	s.server.say("226 done")
	<-time.After(transfer.EmptyGrace + transfer.EmptyGrace/2)
	client, server := s.play(toClient, tls.Client(toClient, s.asUser), nil), s.play(toServer, tls.Server(toServer, s.asHost), []byte("all of it"))
	<-client.done
	<-server.done
	if string(client.got) != "all of it" {
		t.Errorf("the client gets %q (%v), the server %v", client.got, client.err, server.err)
	}
	s.client.hear("226")
}

// TestUntrustedDataConnection: a server that calls a listing complete without 150 may
// have made no data connection (H58); but one where it is not who it should be is a
// failure.
func TestUntrustedDataConnection(t *testing.T) {
	s := protected(t, func(c *config.Config) { c.Timeouts.Linger = time.Millisecond })
	at, inside := s.passivePort()
	toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
	client := s.play(toClient, tls.Client(toClient, s.asUser), nil)
	s.client.say("LIST")
	s.server.hear("LIST")
	s.server.say("226 done")
	stranger := ftptest.Certificate(t, "stranger.example.com")
	server := s.play(toServer, tls.Server(toServer, &tls.Config{Certificates: []tls.Certificate{stranger.Certificate}}), []byte("lies"))
	<-server.done
	s.client.hear("42")
	<-client.done
	if client.err == nil {
		t.Errorf("the client gets %q and a clean end", client.got)
	}
}
