package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/transfer"
)

// optional is a frontend where clients may say AUTH.
func optional(c *config.Config) { c.Frontends[0].TLS.Mode = config.TLSOptional }

// TestAUTH: what is said about TLS, and how it is answered (RFC 4217 §4, §8 to §13).
func TestAUTH(t *testing.T) {
	type line struct{ say, hear string }
	before := []line{
		{"PBSZ 0", "503"}, {"PROT P", "503"}, {"CCC", "533"}, {"ADAT x", "502"},
		{"AUTH GSSAPI", "504"}, {"AUTH", "504"},
	}
	within := []line{
		{"AUTH TLS", "503"}, {"PROT C", "200"}, {"PROT P", "200"}, // without PBSZ, as Python's prot_c says it
		{"PBSZ", "501"}, {"PBSZ -1", "501"}, {"PBSZ 99999999999", "501"}, {"PBSZ 16384", "200 PBSZ=0"},
		{"PROT S", "536"}, {"PROT E", "536"}, {"PROT X", "504"}, {"PROT", "504"}, {"prot c", "200"}, {"PROT P", "200"},
		{"CCC", "534"}, {"REIN", "502"}, {"ADAT x", "502"}, {"MIC x", "502"}, {"CONF x", "502"}, {"ENC x", "502"},
		{"SSCN ON", "502"}, {"CPSV", "502"},
	}
	play := func(t *testing.T, s *tlsStage, lines []line) {
		for _, l := range lines {
			s.client.say(l.say)
			if got := s.client.hear(""); !strings.HasPrefix(got, l.hear) {
				t.Errorf("%s is answered %q, want %s", l.say, got, l.hear)
			}
		}
	}
	for _, mechanism := range []string{"TLS", "tls", "TLS-C", "SSL", "TLS-P"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			s := greetedStage(t)
			play(t, s, before)
			s.client.say("AUTH " + mechanism)
			s.client.hear("234")
			s.client.protect(tls.Client(s.client.conn, s.asUser))
			play(t, s, within)
			s.logIn()
			play(t, s, []line{{"AUTH TLS", "503"}, {"CCC", "534"}, {"SSCN ON", "502"}, {"CPSV", "502"}})
			s.private.client = true
			s.transfer(transfer.Download, []byte("private"))
		})
	}
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		s := enact(t, straight("passive"), func(*config.Config) {})
		s.greet(config.TLSOff, config.TLSOff)
		s.client.hear("220")
		play(t, s, []line{{"AUTH TLS", "502"}, {"PBSZ 0", "503"}})
	})
	t.Run("after USER", func(t *testing.T) {
		t.Parallel()
		s := greetedStage(t)
		s.client.say("USER anna")
		s.server.hear("USER anna")
		s.server.say("331 password")
		s.client.hear("331")
		play(t, s, []line{{"AUTH TLS", "503"}})
		s.client.say("PASS secret")
		s.server.hear("PASS secret")
		s.server.say("230 in")
		s.client.hear("230")
		play(t, s, []line{{"AUTH TLS", "503"}, {"PBSZ 0", "503"}})
		s.transfer(transfer.Upload, []byte("clear"))
	})
}

// TestAUTHOffered: FEAT names what the frontend really does, and nothing of the
// server's own (H21).
func TestAUTHOffered(t *testing.T) {
	for _, mode := range []config.TLSMode{config.TLSOff, config.TLSOptional} {
		s := enact(t, straight("passive"), func(c *config.Config) { c.Frontends[0].TLS.Mode = mode })
		s.greet(mode, config.TLSOff)
		s.client.hear("220")
		s.client.say("FEAT")
		s.server.hear("FEAT")
		s.server.say("211-Features:\r\n AUTH SSL\r\n CCC\r\n SIZE\r\n211 End")
		var got []string
		for line := s.client.hear("211-"); !strings.HasPrefix(line, "211 "); {
			line = s.client.hear("")
			got = append(got, strings.TrimSpace(line))
		}
		want := "SIZE EPRT EPSV 211 End"
		if mode != config.TLSOff {
			want = "SIZE EPRT EPSV AUTH TLS PBSZ PROT 211 End"
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: FEAT lists %q, want %s", mode, got, want)
		}
	}
}

// TestRequired: in the clear nobody logs in, and no data moves.
func TestRequired(t *testing.T) {
	s := enact(t, straight("passive"), func(c *config.Config) {
		c.Frontends[0].TLS.Mode, c.Frontends[0].TLS.RequireData = config.TLSRequired, true
	})
	s.greet(config.TLSRequired, config.TLSOff)
	s.client.hear("220")
	for _, command := range []string{"USER anna", "PASS secret", "ACCT x", "REIN", "CWD /", "XYZ", "TYPE I"} {
		s.client.say(command)
		s.client.hear("530 Use AUTH TLS first.")
	}
	s.client.say("AUTH TLS")
	s.client.hear("234")
	s.client.protect(tls.Client(s.client.conn, s.asUser))
	s.logIn() // So the server has heard nothing before.
	s.client.say("PBSZ 0")
	s.client.hear("200")
	s.client.say("PROT C")
	s.client.hear("534")
	s.agree(s.joint)
	s.client.say("RETR file")
	s.client.hear("521 Data connections must be protected")
	s.prot("P")
	s.transfer(transfer.Download, []byte("private"))
}

// TestRequiredOfUnknownVerbs: a verb that is not known moves no data in the clear
// either.
func TestRequiredOfUnknownVerbs(t *testing.T) {
	s := enact(t, straight("passive"), func(c *config.Config) {
		c.Frontends[0].TLS.Mode, c.Frontends[0].TLS.RequireData = config.TLSRequired, true
	})
	s.greet(config.TLSRequired, config.TLSOff)
	s.client.hear("220")
	s.client.say("AUTH TLS")
	s.client.hear("234")
	s.client.protect(tls.Client(s.client.conn, s.asUser))
	s.logIn()
	toClient, toServer := s.agree(s.joint)
	client, server := toClient(), toServer()
	s.begin("XLST file")
	_, _ = io.WriteString(server, "secret")
	_ = client.SetReadDeadline(time.Now().Add(socketTimeout))
	if got, _ := io.ReadAll(client); len(got) > 0 {
		t.Errorf("in the clear there is %q", got)
	}
}

// TestBehindAUTH: what was sent in the clear behind AUTH is nobody's word, and ends
// the session (H68): in one segment with it, and behind commands that wait.
func TestBehindAUTH(t *testing.T) {
	for name, tt := range map[string]struct {
		say   string
		first string // what is answered before
	}{
		"a command":                      {"AUTH TLS\r\nUSER eve\r\n", ""},
		"a part of one":                  {"AUTH TLS\r\nUS", ""},
		"a byte":                         {"AUTH TLS\r\n\x16", ""},
		"behind another command":         {"NOOP\r\nAUTH TLS\r\nUSER eve\r\n", "200"},
		"a part, behind another command": {"NOOP\r\nAUTH TLS\r\nU", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := greetedStage(t)
			s.client.say(strings.TrimSuffix(tt.say, "\r\n"))
			if tt.first != "" {
				s.server.hear("NOOP")
				s.server.say("200 ok")
				s.client.hear("200")
			}
			s.client.hear("421 ")
			s.client.hearEnd()
			s.server.hearReset()
		})
	}
}

// TestBehind234 is the same injection towards ftproxy: a server behind which
// something comes is not used.
func TestBehind234(t *testing.T) {
	s := enact(t, straight("passive"), func(c *config.Config) { c.Backends[0].TLS.Mode = config.TLSExplicit })
	s.client = s.arrive()
	s.server = newActor(t, "server", acceptOne(t, s.atDoor))
	s.server.say("220 ready")
	s.server.hear("AUTH TLS")
	s.server.say("234 go\r\n230 Eve is in.")
	s.server.hearEnd()
	s.client.hear("421 ")
	s.client.hearEnd()
}

// TestServerRefusesTLS: nothing goes on in the clear instead.
func TestServerRefusesTLS(t *testing.T) {
	t.Run("AUTH", func(t *testing.T) {
		for _, reply := range []string{"500 AUTH?", "502 no", "534 no", "431 not now"} {
			s := enact(t, straight("passive"), private)
			s.client = s.arrive()
			s.server = newActor(t, "server", acceptOne(t, s.atDoor))
			s.server.say("220 ready")
			s.answers("AUTH TLS", reply)
			s.answers("AUTH SSL", reply)
			s.server.hearEnd()
			if got := s.client.hear("421 "); strings.Contains(got, "AUTH") {
				t.Errorf("the client hears %q of the inside", got)
			}
			s.client.hearEnd()
		}
	})
	t.Run("PROT P", func(t *testing.T) {
		s := enact(t, straight("passive"), private)
		s.greet(config.TLSOff, config.TLSExplicit)
		s.server.hear("PBSZ 0")
		s.server.say("200 ok")
		s.server.hear("PROT P")
		s.server.say("536 no")
		s.client.hear("421 ")
		s.client.hearEnd()
	})
	t.Run("PROT P before the login", func(t *testing.T) {
		s := enact(t, straight("passive"), private)
		s.greet(config.TLSOff, config.TLSExplicit)
		s.server.hear("PBSZ 0")
		s.server.say("530 log in")
		s.client.hear("220")
		s.logIn()
		s.answers("PBSZ 0", "534 no")
		s.answers("PROT P", "534 no")
		for range 2 {
			s.client.say("PASV")
			s.answers("PBSZ 0", "534 no")
			s.answers("PROT P", "534 no")
			s.client.hear("425 ")
		}
		// Between REST and its transfer nothing is told (H33).
		s.client.say("REST 100")
		s.server.hear("REST 100")
		s.server.say("350 at 100")
		s.client.hear("350")
		s.client.say("PASV")
		s.client.hear("425 ")
		s.client.say("NOOP")
		s.server.hear("NOOP")
		s.server.say("200 ok")
		s.client.hear("200")
		s.client.say("EPSV")
		s.level("P")
		s.server.hear("EPSV")
		s.server.say("500 no")
		s.server.hear("PASV")
		s.server.say("500 no")
		s.client.hear("500 ")
		s.transfer(transfer.Download, []byte("private"))
	})
	t.Run("certificate", func(t *testing.T) {
		s := enact(t, straight("passive"), func(c *config.Config) {
			private(c)
			c.Backends[0].TLS.ServerName = "other.example.com"
		})
		s.client = s.arrive()
		s.server = newActor(t, "server", acceptOne(t, s.atDoor))
		s.server.say("220 ready")
		s.server.hear("AUTH TLS")
		s.server.say("234 go")
		if err := tls.Server(s.server.conn, s.asHost).Handshake(); err == nil {
			t.Error("a certificate for another name is good enough")
		}
		s.client.hear("421 ")
	})
}

// TestSameAsClient: the server's data connections follow the client's level, which
// is told before the next is agreed on.
func TestSameAsClient(t *testing.T) {
	s := enact(t, straight("passive"), func(c *config.Config) {
		optional(c)
		c.Backends[0].TLS.Mode, c.Backends[0].TLS.Data = config.TLSExplicit, config.DataSameAsClient
	})
	s.greet(config.TLSOptional, config.TLSExplicit)
	s.client.hear("220")
	s.authenticate("C")
	s.logIn()
	s.transfer(transfer.Download, []byte("clear"))
	s.client.say("PROT P")
	s.level("P")
	s.client.hear("200 Protection level set to P.")
	s.private.client = true
	s.transfer(transfer.Upload, []byte("private"))
	s.client.say("PROT C")
	s.server.hear("PROT C")
	s.server.say("200 ok")
	s.client.hear("200 Protection level set to C.")
	s.private.client, s.private.server = false, false
	s.transfer(transfer.Upload, []byte("clear"))
	// A server that refuses is not used in the clear.
	s.client.say("PROT P")
	s.server.hear("PROT P")
	s.server.say("536 no")
	s.client.hear("534 ")
	s.client.say("PASV")
	s.server.hear("PROT P")
	s.server.say("536 no")
	s.client.hear("425 ")
}

// TestHandshakeFails: a client that speaks no TLS behind AUTH, one that has another
// protocol version, one that is silent.
func TestHandshakeFails(t *testing.T) {
	start := func(t *testing.T, change func(*config.Config)) *tlsStage {
		s := enact(t, straight("passive"), func(c *config.Config) { optional(c); change(c) })
		s.greet(config.TLSOptional, config.TLSOff)
		s.client.hear("220")
		s.client.say("AUTH TLS")
		s.client.hear("234")
		return s
	}
	t.Run("clear text", func(t *testing.T) {
		s := start(t, func(*config.Config) {})
		s.client.say("USER anna")
		if rest, err := io.ReadAll(s.client.r); strings.Contains(string(rest), "331") {
			t.Errorf("the client hears %q (%v)", rest, err)
		}
		s.server.hearReset()
	})
	t.Run("old version", func(t *testing.T) {
		s := start(t, func(*config.Config) {})
		c := s.user()
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		s.client.hearFailure(c)
		s.server.hearReset()
	})
	t.Run("silence", func(t *testing.T) {
		s := start(t, func(c *config.Config) { c.Timeouts.TLSHandshake = 20 * time.Millisecond })
		_ = s.client.conn.SetReadDeadline(time.Now().Add(socketTimeout))
		if _, err := io.ReadAll(s.client.r); err != nil {
			t.Errorf("the connection ends with %v", err)
		}
		s.server.hearReset()
	})
	t.Run("the server ends the session meanwhile", func(t *testing.T) {
		s := start(t, func(*config.Config) {})
		s.server.say("421 Bye.")
		_ = s.client.conn.SetReadDeadline(time.Now().Add(socketTimeout))
		if rest, err := io.ReadAll(s.client.r); err != nil || len(rest) > 0 {
			t.Errorf("the client hears %q (%v) within the handshake", rest, err)
		}
	})
}

// TestClientCertificate: who has none, or another one for data, is refused (H78).
func TestClientCertificate(t *testing.T) {
	mine := ftptest.Certificate(t, "anna")
	start := func(t *testing.T, how string) *tlsStage {
		s := enact(t, straight("passive"), func(c *config.Config) { optional(c); trust(c, mine.File, how) })
		s.greet(config.TLSOptional, config.TLSOff)
		s.client.hear("220")
		return s
	}
	t.Run("required", func(t *testing.T) {
		s := start(t, "required")
		s.client.say("AUTH TLS")
		s.client.hear("234")
		secured := tls.Client(s.client.conn, s.asUser)
		_ = s.client.conn.SetDeadline(time.Now().Add(socketTimeout))
		_ = secured.Handshake() // Under TLS 1.3 it is over before the server has seen that there is none.
		if _, err := secured.Read(make([]byte, 1)); err == nil {
			t.Error("a client without a certificate is served")
		}
		s.server.hearReset()
	})
	t.Run("given", func(t *testing.T) {
		s := start(t, "required")
		s.asUser.Certificates = []tls.Certificate{mine.Certificate}
		s.authenticate("P")
		s.logIn()
		s.transfer(transfer.Upload, []byte("mine"))
		if !strings.Contains(s.logs.String(), `"client_certificate":"CN=anna"`) {
			t.Errorf("the log does not name the certificate:\n%s", s.logs)
		}
	})
	t.Run("optional", func(t *testing.T) {
		s := start(t, "optional")
		s.authenticate("P")
		s.logIn()
		s.transfer(transfer.Upload, []byte("nobody's"))
	})
	t.Run("another one for data", func(t *testing.T) {
		s := start(t, "optional")
		s.asUser.Certificates = []tls.Certificate{mine.Certificate}
		s.authenticate("P")
		s.logIn()
		s.asUser.Certificates = nil
		toClient, toServer := s.openBehind(func(*net.TCPConn) {}, transfer.Download, s.joint, "RETR file")
		client := s.play(toClient, tls.Client(toClient, s.asUser), nil)
		<-client.done
		if len(client.got) > 0 {
			t.Errorf("it is given %q", client.got)
		}
		wantReset(t, "server", toServer)
		s.server.say("426 aborted")
		s.client.hear("425 ")
	})
}

// TestSilentUploader: a TLS 1.3 client that sends and never reads. Its close would
// be a reset if we had sent it tickets, and cut the tail.
func TestSilentUploader(t *testing.T) {
	s := greetedStage(t)
	s.authenticate("P")
	s.logIn()
	payload := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	s.transfer(transfer.Upload, payload)
}
