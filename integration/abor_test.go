package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServersABOR: real servers, with and without TLS towards them, answer the ABOR of a
// client as RFC 959 §4.1.3 wants it to hear: a reply to the transfer that is no success,
// and one to ABOR; and the next command at once. A client that closes its data connection
// and says nothing gets its verdict and goes on, too.
func TestServersABOR(t *testing.T) {
	t.Parallel()
	for _, k := range serverKinds {
		for _, protected := range []bool{false, true} {
			if protected && k.name != "vsftpd" && k.name != "proftpd" && k.name != "pure-ftpd" {
				continue
			}
			t.Run(k.name+map[bool]string{true: " with TLS"}[protected], func(t *testing.T) {
				p := newPlace(t)
				root := folder(t)
				var s *server
				var c *proxyConfig
				if protected {
					cert := certificateFor(t, p.server)
					s = startProtected(t, k.name, p.server, root, serverTLS{file: cert.File})
					c = configure(t, p, s.addr)
					c.backend = fmt.Sprintf("tls = { mode = \"explicit\", ca = %q }", cert.File)
				} else {
					s = k.start(t, k.address(p), root)
					c = configure(t, p, s.addr)
				}
				big := filepath.Join(root, "big")
				write(t, big, strings.Repeat("0123456789abcdef", 4<<20))
				own(t, big)
				own(t, filepath.Dir(big))
				at := s.addr
				if os.Getenv("FTPROXY_DIRECT") == "" {
					at = startProxy(t, c).addr4
				}
				for _, tt := range []aborCase{
					{"RETR big", "ABOR", false}, {"RETR big", "\xff\xf4\xff\xf2ABOR", false}, {"RETR big", "ABOR", true},
					{"STOR up", "ABOR", false}, {"RETR big", "", true},
				} {
					if protected && !tt.silent() && k.name != "proftpd" || tt.command == "STOR up" && k.name != "proftpd" {
						continue // vsftpd and pure-ftpd end a session under TLS whose data connection is reset.
					}
					t.Run(tt.name(), func(t *testing.T) {
						for range 5 {
							tt.run(t, p.client, at, s)
						}
					})
				}
			})
		}
	}
}

// An aborCase is how a client ends a transfer.
type aborCase struct {
	command, abor string
	closes        bool // its data connection
}

func (a aborCase) silent() bool { return a.abor == "" }

func (a aborCase) name() string {
	return fmt.Sprintf("%.4s %q %v", a.command, a.abor, a.closes)
}

func (a aborCase) run(t *testing.T, client netip.Addr, at netip.AddrPort, s *server) {
	t.Helper()
	r, code, err := dialRaw(client, at, time.Minute)
	if err != nil || code != 220 {
		t.Fatal(code, err)
	}
	defer r.Close()
	if err := r.login(s.user, s.pass); err != nil {
		t.Fatal(err)
	}
	addr, err := r.passive()
	if err != nil {
		t.Fatal(err)
	}
	d, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0))}).Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if code, text, err := r.command(a.command); err != nil || code/100 != 1 {
		t.Fatal(code, text, err)
	}
	began := time.Now()
	if a.abor != "" {
		if err := r.send(a.abor); err != nil {
			t.Fatal(err)
		}
	}
	if a.closes {
		d.Close()
	}
	var said []string
	want := 2
	if a.abor == "" {
		want = 1
	}
	for finals := 0; finals < want; {
		code, text, err := r.reply()
		if err != nil {
			t.Fatal(said, err)
		}
		said = append(said, fmt.Sprintf("%v: %d %s", time.Since(began).Round(time.Millisecond), code, text))
		if code/100 != 1 {
			finals++
			if finals == 1 && code/100 == 2 && os.Getenv("FTPROXY_DIRECT") == "" {
				t.Errorf("the transfer is called complete: %q", said)
			}
			if finals == 2 && code != 225 && code != 226 && code/100 != 5 {
				t.Errorf("ABOR is answered with %q", said)
			}
		}
	}
	code, text, err := r.command("PWD")
	said = append(said, fmt.Sprintf("%v: %d %s", time.Since(began).Round(time.Millisecond), code, text))
	if err != nil || code != 257 {
		t.Errorf("PWD: %q %v", said, err)
	}
	t.Logf("%s: %q", a.name(), said)
}
