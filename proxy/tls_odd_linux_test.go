package proxy

import (
	"crypto/tls"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/report"
	"ftproxy/internal/transfer"
)

// Servers that answer ftproxy's own AUTH, PBSZ and PROT in other ways than RFC 4217 has it.

// private is a backend with explicit TLS.
func private(c *config.Config) { c.Backends[0].TLS.Mode = config.TLSExplicit }

// odd begins a session of a server with TLS, up to its greeting.
func odd(t *testing.T, change func(*config.Config)) *tlsStage {
	t.Helper()
	s := enact(t, straight("passive"), change)
	s.client = s.arrive()
	s.server = newActor(t, "server", acceptOne(t, s.atDoor))
	return s
}

// oddExplicit is one with explicit TLS, whose server has greeted.
func oddExplicit(t *testing.T) *tlsStage {
	t.Helper()
	s := odd(t, private)
	s.server.say("220 ready")
	return s
}

// answers plays a command of ftproxy's, or of the client's, that the server answers.
func (s *tlsStage) answers(command, reply string) {
	s.t.Helper()
	s.server.hear(command)
	s.server.say(reply)
}

// shaken plays the handshake with the server.
func (s *tlsStage) shaken() {
	s.t.Helper()
	s.server.protect(tls.Server(s.server.conn, s.asHost))
}

// TestServerAnswersAUTHOddly: any 2xx or 3xx to AUTH begins the handshake, which alone
// shows that the server means it.
func TestServerAnswersAUTHOddly(t *testing.T) {
	for _, reply := range []string{"200 AUTH ok", "235 go", "220 TLS", "334 ADAT next", "234-Now\r\n234 go", "232 ok"} {
		t.Run(reply[:3], func(t *testing.T) {
			t.Parallel()
			s := oddExplicit(t)
			s.answers("AUTH TLS", reply)
			s.shaken()
			s.level("P")
			s.client.hear("220")
			s.logIn()
			s.transfer(transfer.Download, []byte("private"))
		})
	}
	t.Run("and speaks on in the clear", func(t *testing.T) {
		t.Parallel()
		s := oddExplicit(t)
		s.answers("AUTH TLS", "200 whatever")
		if b, err := s.server.r.ReadByte(); b != 0x16 { // A hello.
			t.Fatalf("the server hears %q (%v), want a handshake", b, err)
		}
		s.server.say("500 what?")
		s.client.hear("421 ")
	})
}

// TestServerKnowsOnlyAUTHSSL: the older name is said to a server that refuses the newer
// one. It means protected data connections, too (RFC 4217 §17), if PROT is not known.
func TestServerKnowsOnlyAUTHSSL(t *testing.T) {
	for _, refusal := range []string{"500 what?", "504 no such mechanism", "534 no", "431 not that one", "530 log in first"} {
		t.Run(refusal[:3], func(t *testing.T) {
			t.Parallel()
			s := oddExplicit(t)
			s.answers("AUTH TLS", refusal)
			s.answers("AUTH SSL", "334 go")
			s.shaken()
			s.level("P")
			s.client.hear("220")
			s.logIn()
			s.transfer(transfer.Upload, []byte("private"))
		})
	}
	t.Run("and no PROT", func(t *testing.T) {
		t.Parallel()
		s := oddExplicit(t)
		s.answers("AUTH TLS", "500 what?")
		s.answers("AUTH SSL", "234 go")
		s.shaken()
		s.withoutPROT("502 not implemented")
	})
	t.Run("421", func(t *testing.T) { // It wants to end.
		t.Parallel()
		s := oddExplicit(t)
		s.answers("AUTH TLS", "421 Bye.")
		s.server.hearEnd()
		s.client.hear("421 ")
	})
}

// withoutPROT goes on with a server that protects its data connections unasked: it
// answers both commands so, before the login and after it.
func (s *tlsStage) withoutPROT(reply string) {
	s.t.Helper()
	s.answers("PBSZ 0", reply)
	s.answers("PROT P", reply)
	s.client.hear("220")
	s.logIn()
	s.answers("PBSZ 0", reply)
	s.answers("PROT P", reply)
	s.private.server = true
	s.transfer(transfer.Download, []byte("private"))
	s.transfer(transfer.Upload, []byte("private, too"))
}

// TestImplicitServerWithoutPROT: behind implicit TLS data is protected from the
// beginning, so a server may know neither PBSZ nor PROT. One that says that it does not
// protect is not used.
func TestImplicitServerWithoutPROT(t *testing.T) {
	implicit := func(c *config.Config) { c.Backends[0].TLS.Mode = config.TLSImplicit }
	for _, reply := range []string{"500 what?", "502 not implemented", "503 not now", "504 not for that"} {
		t.Run(reply[:3], func(t *testing.T) {
			t.Parallel()
			s := odd(t, implicit)
			s.shaken()
			s.server.say("220 ready")
			s.withoutPROT(reply)
		})
	}
	// It protects data connections that need not be.
	for name, change := range map[string]func(*config.Config){
		"data = clear":          func(c *config.Config) { c.Backends[0].TLS.Data = config.DataClear },
		"data = same-as-client": func(c *config.Config) { c.Backends[0].TLS.Data = config.DataSameAsClient },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := odd(t, func(c *config.Config) { implicit(c); change(c) })
			s.shaken()
			s.server.say("220 ready")
			if name == "data = clear" {
				s.answers("PBSZ 0", "500 what?")
				s.answers("PROT C", "500 what?")
			}
			s.client.hear("220")
			s.logIn()
			s.answers("PBSZ 0", "500 what?")
			s.answers("PROT C", "500 what?")
			s.private.server = true
			s.transfer(transfer.Download, []byte("private"))
			s.transfer(transfer.Upload, []byte("private, too"))
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		s := odd(t, implicit)
		s.shaken()
		s.server.say("220 ready")
		s.answers("PBSZ 0", "200 ok")
		s.answers("PROT P", "536 no")
		s.server.hearEnd()
		s.client.hear("421 ")
	})
}

// TestPBSZRefused: PBSZ says nothing under TLS, so only the answer to PROT counts. What
// a server does not want to hear before the login is said again after it.
func TestPBSZRefused(t *testing.T) {
	for _, reply := range []string{"500 what?", "502 no", "503 log in first", "501 which size?", "331 password"} {
		t.Run(reply[:3]+", PROT taken", func(t *testing.T) {
			t.Parallel()
			s := oddExplicit(t)
			s.answers("AUTH TLS", "234 go")
			s.shaken()
			s.answers("PBSZ 0", reply)
			s.answers("PROT P", "200 ok")
			s.private.server = true
			s.client.hear("220")
			s.logIn()
			s.transfer(transfer.Download, []byte("private"))
		})
		t.Run(reply[:3]+", PROT later", func(t *testing.T) {
			t.Parallel()
			s := oddExplicit(t)
			s.answers("AUTH TLS", "234 go")
			s.shaken()
			s.answers("PBSZ 0", reply)
			s.answers("PROT P", reply)
			s.client.hear("220")
			s.logIn()
			s.level("P")
			s.transfer(transfer.Upload, []byte("private"))
		})
	}
	t.Run("PROT never", func(t *testing.T) { // Nothing moves in the clear instead.
		t.Parallel()
		s := oddExplicit(t)
		s.answers("AUTH TLS", "234 go")
		s.shaken()
		s.answers("PBSZ 0", "500 what?")
		s.answers("PROT P", "500 what?")
		s.client.hear("220")
		s.logIn()
		s.answers("PBSZ 0", "500 what?")
		s.answers("PROT P", "500 what?")
		s.client.say("PASV")
		s.answers("PBSZ 0", "500 what?")
		s.answers("PROT P", "500 what?")
		s.client.hear("425 ")
		if !strings.Contains(s.logs.String(), report.ProtectionRefused.Message) {
			t.Errorf("the log does not say why:\n%s", s.logs)
		}
	})
}
