package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/transfer"
)

// TestHandshakeOrder: either peer may make the data connection's handshake before
// 150 or behind it (H72), also where reuse is required and the handshake tells whose
// the connection is.
func TestHandshakeOrder(t *testing.T) {
	for name, early := range map[string]struct{ client, server bool }{
		"both behind": {false, false}, "client before": {true, false}, "server before": {false, true}, "both before": {true, true},
	} {
		for _, reuse := range []bool{false, true} {
			t.Run(map[bool]string{false: name, true: name + ", reuse"}[reuse], func(t *testing.T) {
				t.Parallel()
				s := enact(t, straight("passive"), func(c *config.Config) {
					c.Frontends[0].TLS.Mode, c.Frontends[0].TLS.SessionReuse = config.TLSOptional, requiredIf(reuse)
					c.Backends[0].TLS.Mode = config.TLSExplicit
				})
				s.greet(config.TLSOptional, config.TLSExplicit)
				s.level("P")
				s.client.hear("220")
				s.authenticate("P")
				s.logIn()
				at, inside := s.passivePort()
				toServer, toClient := acceptOne(t, inside), dialLoopback(t, at)
				user, host := tls.Client(toClient, s.asUser), tls.Server(toServer, s.asHost)
				shake := func(c *tls.Conn) {
					_ = c.SetDeadline(time.Now().Add(socketTimeout))
					if err := c.Handshake(); err != nil {
						t.Fatal(err)
					}
				}
				if early.client {
					shake(user)
				}
				if early.server {
					shake(host)
				}
				s.begin("RETR file")
				go func() {
					_, _ = host.Write([]byte("content"))
					_ = host.Close()
				}()
				_ = user.SetDeadline(time.Now().Add(socketTimeout))
				if got, err := io.ReadAll(user); err != nil || string(got) != "content" {
					t.Errorf("the client gets %q (%v)", got, err)
				}
				_ = user.Close()
				s.server.say("226 done")
				s.client.hear("226")
			})
		}
	}
}

// TestDataHandshakeTimeout: a peer that does not make its handshake costs the
// transfer, once the server has accepted it, and the session lives.
func TestDataHandshakeTimeout(t *testing.T) {
	for _, silent := range []string{"client", "server"} {
		t.Run(silent, func(t *testing.T) {
			t.Parallel()
			s := enact(t, straight("passive"), func(c *config.Config) {
				c.Frontends[0].TLS.Mode, c.Backends[0].TLS.Mode = config.TLSOptional, config.TLSExplicit
				// The control connections have to be quicker, on a machine that may
				// stand still for seconds.
				c.Timeouts.TLSHandshake = 5 * time.Second
			})
			s.greet(config.TLSOptional, config.TLSExplicit)
			s.level("P")
			s.client.hear("220")
			s.authenticate("P")
			s.logIn()
			toClient, toServer := s.openBehind(func(*net.TCPConn) {}, transfer.Upload, s.joint, "STOR file")
			dumb, spoken := toClient, tls.Server(toServer, s.asHost)
			if silent == "server" {
				dumb, spoken = toServer, tls.Client(toClient, s.asUser)
			}
			spoke := make(chan struct{})
			go func() {
				defer close(spoke)
				_ = spoken.Handshake()
			}()
			_ = dumb.SetReadDeadline(time.Now().Add(socketTimeout))
			_, _ = io.Copy(io.Discard, dumb) // Until we give it up.
			_ = dumb.Close()
			<-spoke
			s.server.say("426 no data connection")
			s.client.hear("42")
			s.client.say("NOOP")
			s.server.hear("NOOP")
			s.server.say("200 ok")
			s.client.hear("200")
		})
	}
}
