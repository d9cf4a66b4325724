package proxy

import (
	"crypto/tls"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/transfer"
)

// What was said in the clear before AUTH counts no more after it: somebody else may have
// said it. The server that has heard it is left, and another connection begins anew.

// exchange plays a command of the client's that reaches the server.
func (s *tlsStage) exchange(command, reply string) {
	s.t.Helper()
	s.client.say(command)
	s.answers(command, reply)
	s.client.hear(reply)
}

// greetedStage is one where a client in the clear, of a server in the clear, has heard the
// greeting, and may say AUTH.
func greetedStage(t *testing.T) *tlsStage {
	t.Helper()
	s := enact(t, straight("passive"), optional)
	s.greet(config.TLSOptional, config.TLSOff)
	s.client.hear("220")
	return s
}

// forget plays AUTH of a client whose server has to be left: the server sees its
// connection reset, and another one begins.
func (s *tlsStage) forget(back config.TLSMode) {
	s.t.Helper()
	s.client.say("AUTH TLS")
	s.client.hear("234")
	s.server.hearReset()
	s.client.protect(tls.Client(s.client.conn, s.asUser))
	s.server = newActor(s.t, "server's second connection", acceptOne(s.t, s.atDoor))
	s.server.say("220 ready again")
	if back == config.TLSExplicit {
		s.answers("AUTH TLS", "234 go")
		s.shaken()
		s.level("P")
	}
}

// TestHOSTBeforeAUTH: HOST may come before AUTH, also where that is required, and AUTH
// forgets it (RFC 7151 §3.3, RFC 4217 §4). Under TLS the client says it again, if it
// means it.
func TestHOSTBeforeAUTH(t *testing.T) {
	for _, front := range []config.TLSMode{config.TLSOptional, config.TLSRequired} {
		for _, back := range []config.TLSMode{config.TLSOff, config.TLSExplicit} {
			t.Run(string(front)+", "+string(back)+" behind", func(t *testing.T) {
				t.Parallel()
				s := enact(t, straight("passive"), func(c *config.Config) { c.Frontends[0].TLS.Mode, c.Backends[0].TLS.Mode = front, back })
				s.greet(front, back)
				if back == config.TLSExplicit {
					s.level("P")
				}
				s.client.hear("220 ready")
				s.exchange("HOST evil.example.com", "220 evil")
				s.exchange("SYST", "215 UNIX")
				s.forget(back)
				// The client hears no second greeting, and the server nothing of evil.
				s.exchange("HOST ftp.example.com", "220 good")
				s.prot("P")
				s.logIn()
				s.transfer(transfer.Download, []byte("private"))
			})
		}
	}
	t.Run("refused by the server", func(t *testing.T) {
		t.Parallel()
		s := greetedStage(t)
		s.exchange("HOST 203.0.113.9", "504 unknown")
		s.exchange("HOST 203.0.113.10", "500 what?")
		s.forget(config.TLSOff)
		s.logIn()
	})
	t.Run("and no AUTH", func(t *testing.T) {
		t.Parallel()
		s := greetedStage(t)
		s.exchange("HOST ftp.example.com", "220 good")
		s.logIn() // With the same connection.
		s.transfer(transfer.Download, []byte("clear"))
	})
	t.Run("under TLS", func(t *testing.T) {
		t.Parallel()
		s := greetedStage(t)
		s.authenticate("P")
		s.exchange("HOST ftp.example.com", "220 good")
		s.logIn()
	})
	t.Run("no server any more", func(t *testing.T) {
		t.Parallel()
		s := greetedStage(t)
		s.exchange("HOST ftp.example.com", "220 good")
		_ = s.atDoor.Close()
		s.client.say("AUTH TLS")
		s.client.hear("234")
		s.client.protect(tls.Client(s.client.conn, s.asUser))
		s.client.hear("421 ") // Under TLS, so that it is read.
	})
	t.Run("no handshake", func(t *testing.T) {
		t.Parallel()
		s := greetedStage(t)
		s.exchange("HOST ftp.example.com", "220 good")
		s.client.say("AUTH TLS")
		s.client.hear("234")
		s.server.hearReset()
		s.client.say("USER anna")
		if rest := receives(t, s.client.conn); rest > 100 {
			t.Errorf("the client hears %d bytes", rest)
		}
	})
	t.Run("USER at once", func(t *testing.T) { // It waits for the second connection.
		t.Parallel()
		s := greetedStage(t)
		s.exchange("HOST ftp.example.com", "220 good")
		s.client.say("AUTH TLS")
		s.client.hear("234")
		s.client.protect(tls.Client(s.client.conn, s.asUser))
		s.client.say("PBSZ 0\r\nPROT P\r\nUSER anna")
		s.server = newActor(t, "server's second connection", acceptOne(t, s.atDoor))
		s.server.say("220-ready\r\n220 again")
		s.client.hear("200 PBSZ=0")
		s.client.hear("200 ")
		s.answers("USER anna", "331 password")
		s.client.hear("331")
	})
}

// TestAUTHForgets: the same for all that a server may remember, but a login.
func TestAUTHForgets(t *testing.T) {
	for _, command := range []string{"TYPE I", "REST 100", "XYZ", "SITE UMASK 077", "CWD /", "RNFR a"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := greetedStage(t)
			s.exchange("SYST", "215 UNIX")
			s.exchange(command, "350 go on")
			s.forget(config.TLSOff)
			s.logIn()
		})
	}
	// What chooses no more than letters and language does not count.
	t.Run("harmless", func(t *testing.T) {
		t.Parallel()
		s := greetedStage(t)
		for _, command := range []string{"SYST", "OPTS UTF8 ON", "CLNT x", "FEAT", "NOOP", "HELP", "STAT"} {
			s.exchange(command, "200 ok")
		}
		s.authenticate("P")
		s.logIn() // With the same connection.
	})
	t.Run("login", func(t *testing.T) {
		t.Parallel()
		for _, command := range []string{"USER anna", "PASS x", "ACCT x", "REIN"} {
			s := greetedStage(t)
			s.exchange("HOST ftp.example.com", "220 good")
			s.exchange(command, "500 no")
			s.client.say("AUTH TLS")
			if got := s.client.hear("503 "); !strings.Contains(got, "before USER") {
				t.Errorf("%s, then AUTH: %q", command, got)
			}
			s.exchange("NOOP", "200 still there")
		}
	})
}
