package proxy

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/report"
	"ftproxy/internal/transfer"
)

// What an administrator sees of peers that disagree with us about TLS: one line, which names
// the peer, our own address and what to check. The dialogues silent-… have the rest.

// wantWarning waits for the one warning with a message, and expects these fields; a value
// that ends in … may go on.
func (th *harness) wantWarning(message string, fields map[string]string) {
	th.t.Helper()
	deadline := time.Now().Add(socketTimeout)
	for {
		var found []map[string]any
		for line := range strings.Lines(th.logs.String()) {
			var l map[string]any
			if json.Unmarshal([]byte(line), &l) == nil && l["message"] == message {
				found = append(found, l)
			}
		}
		if len(found) == 0 && time.Now().Before(deadline) {
			<-time.After(time.Millisecond)
			continue
		}
		if len(found) != 1 || found[0]["level"] != "warn" {
			th.t.Fatalf("%d lines %q; want one warning\n%s", len(found), message, th.logs)
		}
		for key, want := range fields {
			got := fmt.Sprint(found[0][key])
			if begin, open := strings.CutSuffix(want, "…"); open && strings.HasPrefix(got, begin) || got == want {
				continue
			}
			th.t.Errorf("%s is %q; want %q", key, got, want)
		}
		return
	}
}

func required(c *config.Config) {
	c.Frontends[0].TLS.Mode, c.Frontends[0].TLS.RequireData = config.TLSRequired, true
}

func implicitFront(c *config.Config) { c.Frontends[0].TLS.Mode = config.TLSImplicit }

// addrOf is the address of an actor's end.
func addrOf(a *actor) string { return a.conn.LocalAddr().String() }

// A client in the clear where TLS is required is told so, and the log has it.
func TestLogOfClientInTheClear(t *testing.T) {
	s := enact(t, straight("passive"), required)
	s.greet(config.TLSOff, config.TLSOff)
	s.client.hear("220")
	s.client.say("USER anna")
	s.client.hear("530")
	s.wantWarning("command refused", map[string]string{"client": addrOf(s.client), "local": s.at(), "verb": "USER", "code": "530",
		"check": `the client speaks in the clear: set it to explicit TLS (FTPES), or write mode = "optional" in [frontend.public.tls]`})
}

// PROT C, and a transfer without PROT, are refused where data must be protected.
func TestLogOfDataInTheClear(t *testing.T) {
	const check = `the client wants data connections in the clear: set it to PROT P, or write require_data = false in [frontend.public.tls]`
	s := enact(t, straight("passive"), required)
	s.greet(config.TLSRequired, config.TLSOff)
	s.client.hear("220")
	s.client.say("AUTH TLS")
	s.client.hear("234")
	s.client.protect(tls.Client(s.client.conn, s.asUser))
	s.client.say("PROT C")
	s.client.hear("534")
	s.wantWarning("command refused", map[string]string{"client": addrOf(s.client), "local": s.at(), "verb": "PROT", "code": "534", "check": check})

	other := enact(t, straight("passive"), required)
	other.greet(config.TLSRequired, config.TLSOff)
	other.client.hear("220")
	other.client.say("AUTH TLS")
	other.client.hear("234")
	other.client.protect(tls.Client(other.client.conn, other.asUser))
	other.logIn()
	other.client.say("RETR f")
	other.client.hear("521")
	other.wantWarning("command refused", map[string]string{"verb": "RETR", "code": "521", "check": check})
}

// A client that begins TLS where nobody does: of implicit TLS at an explicit port, or at
// one without TLS. It need not send a whole line for that.
func TestLogOfImplicitClientAtExplicitPort(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*config.Config)
		sends  string
		check  string
	}{
		"explicit": {optional, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
			"this port does not begin with TLS: set the client to explicit TLS (FTPES), not implicit"},
		"off": {func(*config.Config) {}, "\x16\x03\x01\x02\x00\x01\x00\x0a\xfc\x03\x03",
			"this port has no TLS: set the client to plain FTP, or write [frontend.public.tls]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := enact(t, straight("passive"), tt.change)
			s.greet(config.TLSOff, config.TLSOff)
			s.client.hear("220")
			_, _ = s.client.w.Write([]byte(tt.sends))
			s.wantWarning("TLS with the client failed", map[string]string{"client": addrOf(s.client), "local": s.at(),
				"error": "the client begins TLS without AUTH", "check": tt.check})
		})
	}
}

// The reverse: who waits for a greeting at a port of implicit TLS, or speaks in the clear.
func TestLogOfExplicitClientAtImplicitPort(t *testing.T) {
	for _, says := range []string{"", "USER anna\r\n"} {
		t.Run(says, func(t *testing.T) {
			s := enact(t, straight("passive"), func(c *config.Config) {
				implicitFront(c)
				if says == "" {
					c.Timeouts.TLSHandshake = 50 * time.Millisecond
				}
			})
			s.client = s.arrive()
			_, _ = s.client.w.Write([]byte(says))
			s.wantWarning("TLS with the client failed", map[string]string{"client": addrOf(s.client), "local": s.at(),
				"check": "this port is of implicit TLS: a client in the clear, or of explicit TLS (FTPES), needs another port"})
		})
	}
}

// A health check that connects and leaves is no client.
func TestNoLogOfHealthCheckAtImplicitPort(t *testing.T) {
	s := enact(t, straight("passive"), implicitFront)
	_ = s.arrive().conn.Close()
	for !strings.Contains(s.logs.String(), `"message":"session ended"`) {
		<-time.After(time.Millisecond)
	}
	if strings.Contains(s.logs.String(), report.HandshakeFailed.Message) {
		t.Errorf("a health check is told of:\n%s", s.logs)
	}
}

// A client that does not trust the certificate, and one that sees an expired one.
func TestLogOfDistrustedCertificate(t *testing.T) {
	distrust := func(t *testing.T, change func(*config.Config), check string) {
		s := enact(t, straight("passive"), func(c *config.Config) { optional(c); change(c) })
		s.greet(config.TLSOff, config.TLSOff)
		s.client.hear("220")
		s.client.say("AUTH TLS")
		s.client.hear("234")
		s.client.hearFailure(&tls.Config{ServerName: "ftp.example.com"})
		s.wantWarning("TLS with the client failed", map[string]string{"client": addrOf(s.client), "local": s.at(),
			"error": "remote error: tls: …", "check": check})
	}
	t.Run("unknown", func(t *testing.T) {
		distrust(t, func(*config.Config) {}, "whether the client trusts the certificate: its CA, its name, its chain; and knows the versions of TLS and the cipher suites: "+
			`an old client needs ciphers = "legacy" in [frontend.public.tls]`)
	})
	t.Run("knows RSA key exchange only", func(t *testing.T) {
		s := enact(t, straight("passive"), optional)
		s.greet(config.TLSOff, config.TLSOff)
		s.client.hear("220")
		s.client.say("AUTH TLS")
		s.client.hear("234")
		s.client.hearFailure(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}})
		s.wantWarning("TLS with the client failed", map[string]string{"client": addrOf(s.client), "local": s.at(),
			"error": "tls: no cipher suite supported by both client and server…", "check": `the versions of TLS and the cipher suites of the client: ` +
				`min_version and max_version in [frontend.public.tls]; an old client needs ciphers = "legacy" there`})
	})
	t.Run("expired", func(t *testing.T) {
		end := time.Now().Add(-time.Minute)
		old := ftptest.CertificateUntil(t, end, "ftp.example.com")
		distrust(t, func(c *config.Config) {
			c.Frontends[0].TLS.Certificates = []config.KeyPair{{Certificate: old.File, Key: old.File}}
		}, fmt.Sprintf("the certificate in %s has expired at %s: renew it", old.File, end.UTC().Format(time.DateOnly)))
	})
}

// Servers and a backend's TLS that do not fit.
func TestLogOfServerTLS(t *testing.T) {
	play := func(t *testing.T, change func(*config.Config), server func(*tlsStage), check string) {
		s := enact(t, straight("passive"), change)
		s.client = s.arrive()
		s.server = newActor(t, "server", acceptOne(t, s.atDoor))
		server(s)
		s.client.hear("421")
		s.wantWarning("server not usable", map[string]string{"client": addrOf(s.client), "server": addrOf(s.server), "error": addrOf(s.server) + "…", "check": check})
	}
	implicitBack := func(c *config.Config) { c.Backends[0].TLS.Mode = config.TLSImplicit }
	t.Run("does not know AUTH", func(t *testing.T) {
		play(t, private, func(s *tlsStage) {
			s.server.say("220 ready")
			s.answers("AUTH TLS", "500 what?")
			s.answers("AUTH SSL", "500 what?")
		}, `whether TLS is turned on in the server; else write mode = "off" in [backend.inside.tls]`)
	})
	secured := func(s *tlsStage, host *tls.Config) {
		s.server.say("220 ready")
		s.answers("AUTH TLS", "234 go")
		if err := tls.Server(s.server.conn, host).Handshake(); err == nil {
			t.Error("the handshake succeeds")
		}
		_ = s.server.conn.Close()
	}
	const old = `the versions of TLS and the cipher suites of the server: an old one needs ciphers = "legacy", a very old one min_version = "1.0" in [backend.inside.tls]; one that wants a certificate of ftproxy needs certificate`
	t.Run("knows RSA key exchange only", func(t *testing.T) {
		play(t, private, func(s *tlsStage) {
			host := s.asHost.Clone()
			host.MaxVersion, host.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
			secured(s, host)
		}, old)
	})
	t.Run("knows TLS 1.0 only", func(t *testing.T) {
		play(t, private, func(s *tlsStage) {
			host := s.asHost.Clone()
			host.MinVersion, host.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
			secured(s, host)
		}, old)
	})
	t.Run("wants a certificate", func(t *testing.T) {
		play(t, func(c *config.Config) { private(c); c.Backends[0].TLS.MaxVersion = tls.VersionTLS12 }, func(s *tlsStage) {
			host := s.asHost.Clone()
			host.ClientAuth = tls.RequireAnyClientCert
			secured(s, host)
		}, old)
	})
	t.Run("closes in the handshake", func(t *testing.T) {
		play(t, private, func(s *tlsStage) {
			s.server.say("220 ready")
			s.answers("AUTH TLS", "234 go")
			_ = s.server.conn.Close()
		}, old)
	})
	t.Run("expired certificate", func(t *testing.T) {
		host := ftptest.CertificateUntil(t, time.Now().Add(-time.Minute), "127.0.0.1", "ftp.example.com")
		play(t, func(c *config.Config) {
			private(c)
			c.Backends[0].TLS.CA = host.File
			c.Backends[0].TLS.ServerName = "ftp.example.com"
		}, func(s *tlsStage) {
			secured(s, &tls.Config{Certificates: []tls.Certificate{host.Certificate}, MaxVersion: tls.VersionTLS12})
		}, "the server's certificate has expired, or this machine's clock is wrong")
	})
	t.Run("another fingerprint", func(t *testing.T) {
		play(t, func(c *config.Config) {
			private(c)
			c.Backends[0].TLS.CA, c.Backends[0].TLS.Fingerprint = "", "sha256:"+strings.Repeat("0f", 32)
		}, func(s *tlsStage) {
			host := s.asHost.Clone()
			host.MaxVersion = tls.VersionTLS12
			secured(s, host)
		}, "ask who runs the server whether its certificate is new: then write its fingerprint in [backend.inside.tls]")
	})
	t.Run("explicit, reached as implicit", func(t *testing.T) {
		play(t, implicitBack, func(s *tlsStage) { s.server.say("220 ready") },
			`whether this is a port of implicit TLS; for port 21 write mode = "explicit" in [backend.inside.tls]`)
	})
	t.Run("implicit, reached as explicit", func(t *testing.T) {
		play(t, func(c *config.Config) { private(c); c.Timeouts.Greeting = 50 * time.Millisecond }, func(*tlsStage) {},
			`whether this is a port of FTP; for one of implicit TLS (990) write mode = "implicit" in [backend.inside.tls]`)
	})
	t.Run("wants TLS", func(t *testing.T) {
		play(t, func(*config.Config) {}, func(s *tlsStage) { s.server.say("421 This server wants TLS.") },
			`the server wants TLS: write mode = "explicit" in [backend.inside.tls]`)
	})
	t.Run("expired", func(t *testing.T) {
		old := ftptest.CertificateUntil(t, time.Now().Add(-time.Minute), "127.0.0.1")
		play(t, func(c *config.Config) { implicitBack(c); c.Backends[0].TLS.CA = old.File }, func(s *tlsStage) {
			_ = tls.Server(s.server.conn, &tls.Config{Certificates: []tls.Certificate{old.Certificate}}).Handshake()
		}, "the server's certificate has expired, or this machine's clock is wrong")
	})
	t.Run("of another name", func(t *testing.T) {
		other := ftptest.Certificate(t, "other.example.com")
		play(t, func(c *config.Config) { implicitBack(c); c.Backends[0].TLS.CA = other.File }, func(s *tlsStage) {
			_ = tls.Server(s.server.conn, &tls.Config{Certificates: []tls.Certificate{other.Certificate}}).Handshake()
		}, "the server's certificate: write server_name or ca in [backend.inside.tls]")
	})
}

// ftproxy_transfer_bytes_total moves while a transfer does.
func TestBytesWhileATransferRuns(t *testing.T) {
	th := play(t, nil)
	client, server := th.open("passive", "RETR f")
	if _, err := server.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, client, "half")
	th.wantBytesTotal(transfer.Download, 4)
	_, _ = server.Write([]byte(" and half"))
	_ = server.CloseWrite()
	wantData(t, "client", client, []byte(" and half"))
	_ = client.Close()
	th.server.say("226 done")
	th.client.hear("226 done")
	th.wantLog(`"bytes":13`)
	th.wantBytesTotal(transfer.Download, 13)
}

func wantBytes(t *testing.T, conn interface{ Read([]byte) (int, error) }, want string) {
	t.Helper()
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		m, err := conn.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if string(got) != want {
		t.Fatalf("got %q; want %q", got, want)
	}
}

// wantBytesTotal expects what a scrape says, which may come a moment after the bytes.
func (th *harness) wantBytesTotal(d transfer.Direction, want int) {
	th.t.Helper()
	text := fmt.Sprintf("# HELP ftproxy_transfer_bytes_total Payload bytes moved so far, those of running and of failed transfers included.\n"+
		"# TYPE ftproxy_transfer_bytes_total counter\nftproxy_transfer_bytes_total{direction=\"%s\"} %d\n", d, want)
	other := transfer.Upload
	if d == other {
		other = transfer.Download
	}
	text += fmt.Sprintf("ftproxy_transfer_bytes_total{direction=\"%s\"} 0\n", other)
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		if err = testutil.GatherAndCompare(th.process.metrics.Registry(), strings.NewReader(text), "ftproxy_transfer_bytes_total"); err == nil {
			return
		}
	}
	th.t.Error(err)
}

// TestServerNameIsFtproxy: a name that leads to ftproxy itself is no server. Otherwise each
// session would begin another one, until no more are allowed.
func TestServerNameIsFtproxy(t *testing.T) {
	for name, addr := range map[string]netip.Addr{"at an address": loopback(false), "at all addresses": netip.IPv4Unspecified()} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t).First
			th, _ := emptyStage(t, joint{}, func(c *config.Config) {
				c.Frontends[0].Listen = []netip.AddrPort{netip.AddrPortFrom(addr, port)}
				if addr.IsUnspecified() { // The name may lead to ::1, too.
					c.Frontends[0].Listen = append(c.Frontends[0].Listen, netip.AddrPortFrom(netip.IPv6Unspecified(), port))
				}
				c.Backends[0].Servers = []config.Server{{Host: "localhost", Port: port}}
				c.Timeouts.Connect = socketTimeout
			})
			conn, err := net.Dial("tcp", netip.AddrPortFrom(loopback(false), port).String())
			if err != nil {
				t.Fatal(err)
			}
			client := newActor(t, "client", conn.(*net.TCPConn))
			client.hear("421 ")
			client.hearEnd()
			_ = conn.Close()
			th.wantWarning("server not usable", map[string]string{"server": "localhost:" + strconv.Itoa(int(port)), "error": "…",
				"check": "servers in [backend.inside], and what DNS or /etc/hosts says of that name: it must be the FTP server's address"})
			if n := strings.Count(th.logs.String(), `"message":"session started"`); n != 1 {
				t.Errorf("%d sessions have begun, want one", n)
			}
		})
	}
}
