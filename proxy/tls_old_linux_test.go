package proxy

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/transfer"
)

// TestOldServers: servers that know nothing better than TLS 1.0 or 1.1, or no cipher
// suite with forward secrecy, are reached where their backend allows it, and only
// there.
func TestOldServers(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		for _, allowed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, allowed %v", tls.VersionName(version), allowed), func(t *testing.T) {
				s := enact(t, straight("passive"), func(c *config.Config) {
					c.Backends[0].TLS.Mode = config.TLSExplicit
					if allowed {
						c.Backends[0].TLS.MinVersion = version
					}
				})
				s.asHost.MinVersion, s.asHost.MaxVersion = tls.VersionTLS10, version
				if allowed {
					s.greet(config.TLSOff, config.TLSExplicit)
					s.level("P")
					s.client.hear("220")
					s.logIn()
					s.transfer(transfer.Upload, []byte("to an old server"))
					s.wantLog(`"server_data_tls":"` + tls.VersionName(version) + `"`)
					return
				}
				s.client = s.arrive()
				s.server = newActor(t, "server", acceptOne(t, s.atDoor))
				s.server.say("220 ready")
				s.server.hear("AUTH TLS")
				s.server.say("234 go")
				if err := tls.Server(s.server.conn, s.asHost).Handshake(); err == nil {
					t.Error("the handshake succeeds")
				}
				s.client.hear("421 ")
			})
		}
	}
}

// TestAdvice: what went wrong with a server's certificate is logged with what to do.
func TestAdvice(t *testing.T) {
	for _, tt := range []struct{ name, trusted, want string }{
		{"another name", "own", "write server_name"},
		{"ftp.example.com", "none", "write ca"},
		{"", "own", "speaks in the clear"},
	} {
		s := enact(t, straight("passive"), func(c *config.Config) {
			c.Backends[0].TLS.Mode = config.TLSExplicit
			if c.Backends[0].TLS.ServerName = tt.name; tt.name == "" {
				c.Backends[0].TLS.Mode = config.TLSImplicit
			}
			if tt.trusted == "none" {
				c.Backends[0].TLS.CA = ""
			}
		})
		s.client = s.arrive()
		s.server = newActor(t, "server", acceptOne(t, s.atDoor))
		s.server.say("220 ready")
		if tt.name != "" {
			s.server.hear("AUTH TLS")
			s.server.say("234 go")
			_ = tls.Server(s.server.conn, s.asHost).Handshake()
		}
		s.client.hear("421 ")
		if !strings.Contains(s.logs.String(), tt.want) {
			t.Errorf("the log does not say %q:\n%s", tt.want, s.logs)
		}
	}
}

// TestRenewed: a reload that finds another certificate in the same file says so, though
// no setting has changed.
func TestRenewed(t *testing.T) {
	var c *config.Config
	s := enact(t, straight("passive"), func(conf *config.Config) {
		conf.Frontends[0].TLS.Mode = config.TLSOptional
		c = conf
	})
	again := func() {
		t.Helper()
		if err := s.process.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	if again(); strings.Contains(s.logs.String(), "certificate renewed") {
		t.Error("renewed without a new one")
	}
	next := ftptest.Certificate(t, "ftp.example.com")
	text, err := os.ReadFile(next.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.front.File, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if again(); !strings.Contains(s.logs.String(), `"serial":"`+next.Leaf.SerialNumber.Text(16)+`"`) {
		t.Errorf("nothing of the new one in the log:\n%s", s.logs)
	}
}

// TestCertificateMetrics: what clients are shown and when it ends, and who is not
// verified, are seen; a reload that takes TLS away takes that away, too.
func TestCertificateMetrics(t *testing.T) {
	var c *config.Config
	s := enact(t, straight("passive"), func(conf *config.Config) {
		conf.Frontends[0].TLS.Mode = config.TLSOptional
		conf.Backends[0].TLS = config.BackendTLS{Mode: config.TLSExplicit, InsecureSkipVerify: true}
		c = conf
	})
	expiry := fmt.Sprintf("ftproxy_certificate_expiry_timestamp_seconds{certificate=\"ftp.example.com\",frontend=\"public\"} %v", float64(s.front.Leaf.NotAfter.Unix()))
	for _, want := range []string{expiry, `ftproxy_servers_unverified{backend="inside"} 1`} {
		if scrape := s.scrape(); !strings.Contains(scrape, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	changed := *c
	changed.Frontends = []config.Frontend{c.Frontends[0]}
	changed.Backends = []config.Backend{c.Backends[0]}
	changed.Frontends[0].TLS.Mode, changed.Backends[0].TLS.Mode = config.TLSOff, config.TLSOff
	if err := s.process.Apply(&changed); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"ftproxy_certificate_expiry_timestamp_seconds{", "ftproxy_servers_unverified{"} {
		if strings.Contains(s.scrape(), gone) {
			t.Errorf("%s is still there after TLS was taken away", gone)
		}
	}
}
