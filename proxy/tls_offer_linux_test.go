package proxy

import (
	"bytes"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/transfer"
)

// offering is a frontend whose clients' data connections may resume their session.
func offering(version uint16) func(c *config.Config) { return withReuse(config.ReuseOffer, version) }

// TestSessionReuseOffered: a client may resume its control connection's session or not,
// in all modes, as often as it likes.
func TestSessionReuseOffered(t *testing.T) {
	bothVersions(t, func(t *testing.T, version uint16) {
		for _, j := range jointsOf(0) {
			t.Run(j.String(), func(t *testing.T) {
				t.Parallel()
				s := enact(t, j, offering(version))
				s.ready()
				own := s.asUser
				for range 3 {
					for _, resumes := range []bool{true, false} {
						if s.asUser = own; !resumes {
							s.asUser = s.user()
						}
						client, _ := s.transfer(transfer.Download, bytes.Repeat([]byte("d"), 100_000))
						if client.resumed != resumes {
							t.Errorf("the client's data connection resumes: %t, want %t", client.resumed, resumes)
						}
						s.asUser = own
						if !resumes {
							s.asUser = s.user()
						}
						s.transfer(transfer.Upload, bytes.Repeat([]byte("u"), 100_000))
					}
				}
			})
		}
	})
}

// TestOfferedAnothersSession: where reuse is offered, a connection that resumes another
// session's ticket is not the client's, though it comes from its address and comes first.
// It gets nothing, and the transfer fails. The next one works.
func TestOfferedAnothersSession(t *testing.T) {
	for _, mode := range []string{"passive", "active"} {
		bothVersions(t, func(t *testing.T, version uint16) {
			s := enact(t, straight(mode), offering(version))
			s.ready()
			other := s.beside()
			other.ready()
			toClient, toServer := s.openBehind(func(*net.TCPConn) {}, transfer.Download, s.joint, "RETR file")
			client := s.play(toClient, tls.Client(toClient, other.asUser), nil)
			<-client.done
			if len(client.got) > 0 {
				t.Errorf("another session is given %q", client.got)
			}
			wantReset(t, "server", toServer)
			s.server.say("426 aborted")
			s.client.hear("522 ")
			if want := "it resumes another one's"; !strings.Contains(s.logs.String(), want) {
				t.Errorf("the log does not say %q:\n%s", want, s.logs)
			}
			if want := `ftproxy_data_reuse_refused_total{frontend="public"} 1`; !strings.Contains(s.scrape(), want) {
				t.Errorf("no %s in the metrics", want)
			}
			s.transfer(transfer.Download, []byte("for the client"))
		})
	}
}

// TestOfferedKeepsAddressKey: where reuse is only offered, a port's key stays the
// address: the sessions of one address never wait on one port at a time (decision 4).
func TestOfferedKeepsAddressKey(t *testing.T) {
	s := enact(t, straight("passive"), func(c *config.Config) { // It has one passive port.
		offering(tls.VersionTLS13)(c)
		c.Timeouts.PortWait = 10 * time.Millisecond
	})
	s.ready()
	other := s.beside()
	other.ready()
	s.passivePort()
	other.client.say("PASV")
	other.client.hear("425 ")
}

// TestBrowserAtTheDoor: a client that speaks HTTP by its own word (ALPN) is refused.
func TestBrowserAtTheDoor(t *testing.T) {
	s := greetedStage(t)
	s.client.say("AUTH TLS")
	s.client.hear("234")
	browser := s.user()
	browser.NextProtos = []string{"http/1.1"}
	s.client.hearFailure(browser)
}
