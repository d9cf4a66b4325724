package proxy

import (
	"crypto/tls"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/transfer"
)

// TestDeferredTLS: where the server depends on the user, the client's TLS begins before there is
// a server, and both sides protect their data.
func TestDeferredTLS(t *testing.T) {
	for _, front := range []config.TLSMode{config.TLSOptional, config.TLSRequired, config.TLSImplicit} {
		for _, back := range []config.TLSMode{config.TLSOff, config.TLSExplicit, config.TLSImplicit} {
			t.Run(string(front)+", "+string(back)+" to the server", func(t *testing.T) {
				t.Parallel()
				s := enact(t, straight("passive"), func(c *config.Config) {
					c.Frontends[0].TLS.Mode, c.Backends[0].TLS.Mode = front, back
					c.Backends[0].Balance = config.BalanceUser
				})
				s.client = s.arrive()
				if front == config.TLSImplicit {
					s.client.protect(tls.Client(s.client.conn, s.asUser))
				}
				s.client.hear("220 Service ready.")
				if front == config.TLSImplicit {
					s.prot("P")
				} else {
					s.authenticate("P")
				}
				s.client.say("USER anna")
				s.server = newActor(t, "server", acceptOne(t, s.atDoor))
				if back == config.TLSImplicit {
					s.shaken()
				}
				s.server.say("220 ready")
				if back == config.TLSExplicit {
					s.server.hear("AUTH TLS")
					s.server.say("234 go")
					s.shaken()
				}
				if back != config.TLSOff {
					s.level("P")
				}
				s.server.hear("USER anna")
				s.server.say("230 in")
				s.client.hear("230 in")
				s.transfer(transfer.Download, []byte("anna's file"))
			})
		}
	}
}
