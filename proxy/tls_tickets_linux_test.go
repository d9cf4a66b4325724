package proxy

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/report"
	"ftproxy/internal/transfer"
)

// TestServerWithoutTickets: ProFTPD without TLS 1.3 gives no tickets unless
// TLSSessionTickets is on, and takes only data connections that resume. ftproxy resumes
// by tickets only, so no transfer works; the log says what to set, once.
func TestServerWithoutTickets(t *testing.T) {
	start := func(t *testing.T, tickets bool) *tlsStage {
		s := enact(t, straight("passive"), private)
		s.asHost.MaxVersion, s.asHost.SessionTicketsDisabled = tls.VersionTLS12, !tickets
		s.greet(config.TLSOff, config.TLSExplicit)
		s.level("P")
		s.client.hear("220")
		s.logIn()
		return s
	}
	advised := func(s *tlsStage) int { return strings.Count(s.logs.String(), report.NoTickets.Message) }
	// fail plays a transfer whose data connection the server does not take.
	fail := func(s *tlsStage, before, reply string) {
		s.t.Helper()
		toClient, toServer := s.agree(s.joint)
		client, server := toClient(), toServer()
		s.client.say("RETR file")
		s.server.hear("RETR file")
		if before != "" {
			s.server.say(before)
			s.client.hear(before)
		}
		secured := tls.Server(server, s.asHost)
		_ = server.SetDeadline(time.Now().Add(socketTimeout))
		if err := secured.Handshake(); err != nil {
			s.t.Fatal(err)
		}
		reset(server)
		s.server.say(reply)
		s.client.hear("4")
		_ = client.Close()
	}
	for _, tt := range []struct{ name, before, reply string }{
		{"ProFTPD", "", "425 Unable to build data connection: Operation not permitted"},
		{"after 150", "150 Opening", "426 Session was not resumed."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, false)
			fail(s, tt.before, tt.reply)
			fail(s, tt.before, tt.reply)
			if n := advised(s); n != 1 || !strings.Contains(s.logs.String(), "TLSSessionTickets on") {
				t.Errorf("the log has %d lines of it", n)
			}
		})
	}
	t.Run("a server that has given one", func(t *testing.T) {
		s := start(t, true)
		fail(s, "", "425 Unable to build data connection: Operation not permitted")
		if advised(s) != 0 {
			t.Error("the log tells of tickets")
		}
	})
	t.Run("a server that does without", func(t *testing.T) {
		s := start(t, false)
		s.transfer(transfer.Download, []byte("private"))
		s.agree(s.joint)
		s.refuse("RETR missing")
		s.client.say("LIST")
		s.server.hear("LIST")
		s.server.say("450 no such folder")
		s.client.hear("450")
		if advised(s) != 0 {
			t.Error("the log tells of tickets")
		}
	})
}
