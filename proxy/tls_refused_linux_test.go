package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/portpool"
)

// What becomes of protected data connections whose transfer the server refuses (H14).

// refuse plays a transfer that the server refuses.
func (th *harness) refuse(command string) {
	th.t.Helper()
	th.client.say(command)
	th.server.hear(command)
	th.server.say("550 no")
	th.client.hear("550 no")
}

// TestProtectedAfterRefusal: both protected data connections serve the next transfer,
// whether their handshakes were made before the refusal or not, as the server's of
// vsftpd is not.
func TestProtectedAfterRefusal(t *testing.T) {
	for name, early := range map[string]bool{"handshakes before": true, "handshakes after 150": false} {
		t.Run(name, func(t *testing.T) {
			s := protected(t, nil)
			at, inside := s.passivePort()
			toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
			user, host := tls.Client(toClient, s.asUser), tls.Server(toServer, s.asHost)
			if early {
				for _, c := range []*tls.Conn{user, host} {
					_ = c.SetDeadline(time.Now().Add(socketTimeout))
					if err := c.Handshake(); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.refuse("MLSD")
			s.refuse("RETR missing")
			s.begin("LIST")
			server, client := s.play(toServer, host, []byte("listing")), s.play(toClient, user, nil)
			<-server.done
			<-client.done
			if client.err != nil || string(client.got) != "listing" {
				t.Errorf("the client gets %q (%v), the server %v", client.got, client.err, server.err)
			}
			s.server.say("226 done")
			s.client.hear("226 done")
		})
	}
}

// hello is a client's first message.
func hello(t *testing.T, c *tls.Config) []byte {
	t.Helper()
	var b bytes.Buffer
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(here, c).Handshake()
	}()
	buf := make([]byte, 16<<10)
	n, err := there.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(buf[:n])
	_ = there.Close()
	<-done
	return b.Bytes()
}

// TestFileZillaSupersededData: FileZilla takes the reset of a data connection on which
// it has begun TLS for a reason to try again. So one that was agreed on, and that the
// next PASV after a 550 supersedes, ends with a FIN, whatever it has sent and sends.
func TestFileZillaSupersededData(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		for _, sent := range []string{"nothing", "half a hello"} {
			if reuse && sent != "nothing" {
				continue // Nobody knows whose it is.
			}
			t.Run(map[bool]string{false: sent, true: sent + ", reuse"}[reuse], func(t *testing.T) {
				t.Parallel()
				s := enact(t, straight("passive"), func(c *config.Config) {
					c.Frontends[0].TLS.Mode, c.Frontends[0].TLS.SessionReuse = config.TLSOptional, requiredIf(reuse)
				})
				s.ready()
				at, inside := s.passivePort()
				_, conn := acceptOne(t, inside), dialLoopback(t, at)
				text := hello(t, s.user())
				if sent == "half a hello" {
					_, _ = conn.Write(text[:len(text)/2])
					text = text[len(text)/2:]
				}
				if !reuse {
					s.arrived()
				}
				s.refuse("RETR missing")
				if reuse {
					// A connection that has not said whose it is cannot be told from a
					// stranger's.
					s.client.say("PASV")
					wantReset(t, "client", conn)
					return
				}
				_, _ = s.passivePortAfter(func() {
					_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
					if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("the client reads %d bytes (%v), want the end", n, err)
					}
					for range 3 { // A reset would come between these.
						if _, err := conn.Write(text); err != nil {
							t.Errorf("the client sends: %v", err)
						}
						<-time.After(10 * time.Millisecond)
					}
					_ = conn.Close()
				})
			})
		}
	}
	t.Run("all of it", func(t *testing.T) {
		s := enact(t, straight("passive"), optional)
		s.ready()
		at, inside := s.passivePort()
		_, conn := acceptOne(t, inside), dialLoopback(t, at)
		user := tls.Client(conn, s.asUser)
		_ = conn.SetDeadline(time.Now().Add(socketTimeout))
		if err := user.Handshake(); err != nil {
			t.Fatal(err)
		}
		s.refuse("RETR missing")
		// A client may have sent more, which nobody has read.
		_, _ = user.Write([]byte("early"))
		_, _ = s.passivePortAfter(func() {
			if got, err := io.ReadAll(user); err != nil || len(got) > 0 {
				t.Errorf("the client reads %q (%v), want the end", got, err)
			}
		})
	})
}

// arrived waits until the data connection that is due is the session's.
func (s *tlsStage) arrived() {
	s.t.Helper()
	for deadline := time.Now().Add(socketTimeout); slices.ContainsFunc(s.process.ports.Snapshot(), func(u portpool.Usage) bool { return u.Pending > 0 }); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the data connection does not arrive")
		}
	}
}

// passivePortAfter says PASV and does something before the server hears of it.
func (s *tlsStage) passivePortAfter(do func()) (at string, inside *net.TCPListener) {
	s.t.Helper()
	s.client.say("PASV")
	do()
	s.server.hear("PASV")
	s.server.say("425 not now")
	s.client.hear("425")
	return "", nil
}

// TestServerDropsProtectedData: a server that has not begun TLS and closes its data
// connection after a refusal ends the client's with a FIN, and the next transfer is
// refused. After its handshake nobody looks: it hears the command, and says so itself.
func TestServerDropsProtectedData(t *testing.T) {
	t.Run("before its handshake", func(t *testing.T) {
		s := protected(t, nil)
		at, inside := s.passivePort()
		toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
		user := tls.Client(toClient, s.asUser)
		_ = toClient.SetDeadline(time.Now().Add(socketTimeout))
		if err := user.Handshake(); err != nil {
			t.Fatal(err)
		}
		s.refuse("RETR missing")
		_ = toServer.Close()
		if got, err := io.ReadAll(user); err != nil || len(got) > 0 {
			t.Errorf("the client reads %q (%v), want the end", got, err)
		}
		s.client.say("LIST")
		s.client.hear("425")
		s.stillWorks()
	})
	t.Run("after its handshake", func(t *testing.T) {
		s := protected(t, nil)
		at, inside := s.passivePort()
		toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
		user, host := tls.Client(toClient, s.asUser), tls.Server(toServer, s.asHost)
		for _, c := range []*tls.Conn{user, host} {
			_ = c.SetDeadline(time.Now().Add(socketTimeout))
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		s.refuse("RETR missing")
		_ = host.Close()
		s.client.say("LIST")
		s.server.hear("LIST")
		s.server.say("425 Use PASV first.")
		s.client.hear("425 ")
		if got, err := io.ReadAll(user); err != nil || len(got) > 0 {
			t.Errorf("the client reads %q (%v), want the end", got, err)
		}
		s.stillWorks()
	})
}

// TestClientHelloBesideARefusal: a protected data connection that is given up beside a
// refusal, by the server's 425 or because the server closes its own, ends with a FIN, also
// where half of the ClientHello has come, all of it, or none yet.
func TestClientHelloBesideARefusal(t *testing.T) {
	for _, reply := range []string{"425 no", "426 no", "550 no"} {
		for _, part := range []int{0, 1, 2} {
			t.Run(reply+map[int]string{0: ", nothing sent", 1: ", half a hello", 2: ", a hello"}[part], func(t *testing.T) {
				t.Parallel()
				s := enact(t, straight("passive"), func(c *config.Config) { c.Frontends[0].TLS.Mode = config.TLSOptional })
				s.ready()
				at, inside := s.passivePort()
				server, conn := acceptOne(t, inside), dialLoopback(t, at)
				text := hello(t, s.user())
				_, _ = conn.Write(text[:len(text)*part/2])
				s.arrived()
				s.client.say("RETR missing")
				s.server.hear("RETR missing")
				s.server.say(reply)
				s.client.hear(reply)
				if reply == "550 no" {
					_ = server.Close()
				}
				_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
				if _, err := io.Copy(io.Discard, conn); err != nil {
					t.Errorf("the client reads %v, want the end", err)
				}
				for range 3 { // A reset would come between these.
					if _, err := conn.Write(text[len(text)*part/2:]); err != nil {
						t.Errorf("the client sends: %v", err)
					}
					<-time.After(10 * time.Millisecond)
				}
			})
		}
	}
}
