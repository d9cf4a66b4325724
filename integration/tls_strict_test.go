package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// How long a test of strict servers takes: so many sessions at once, each with so
// many transfers.
const strictSessions = 4

func strictTransfers() int {
	if full {
		return 200
	}
	return 50
}

// strictSizes are what is moved; a file of nothing is a TLS session all the same.
var strictSizes = []int{0, 1, 1000, 16_384, 100_003, 1_000_003}

// resumed finds the data connections that resumed, in vsftpd's log. ProFTPD logs it
// once a session.
var resumed = regexp.MustCompile(`SSL cipher: \S+, reused,`)

// TestStrictServers: servers that take a data connection only if it resumes the TLS
// session of its control connection (vsftpd's require_ssl_reuse, ProFTPD without
// NoSessionReuseRequired), with clients that know nothing of TLS in front. pure-ftpd
// does not insist.
func TestStrictServers(t *testing.T) {
	for _, name := range tlsServers {
		for _, version := range []string{"1.2", "1.3"} {
			t.Run(name+"-"+version, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				inside := certificateFor(t, p.server)
				root := folder(t)
				s := startProtected(t, name, serverNamed(name).address(p), root, serverTLS{file: inside.File, strict: true})
				if name != "pure-ftpd" {
					refusesStrangers(t, p, s, inside.Pool)
				}
				c := configure(t, p, s.addr)
				c.backend = fmt.Sprintf("tls = { mode = \"explicit\", ca = %q, min_version = %[2]q, max_version = %[2]q }", inside.File, version)
				r := &strictRun{place: p, server: s, proxy: startProxy(t, c)}
				for _, size := range strictSizes {
					name := filepath.Join(root, fmt.Sprint("down-", size))
					if err := os.WriteFile(name, content(fmt.Sprint(size), size), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				var all sync.WaitGroup
				for i := range strictSessions {
					all.Go(func() {
						if err := r.session(i); err != nil {
							t.Errorf("session %d: %v", i, err)
						}
					})
				}
				all.Wait()
				if got, want := len(resumed.FindAllString(s.log(), -1)), strictSessions*strictTransfers(); name == "vsftpd" && got != want {
					t.Errorf("%s has seen %d data connections that resume, want %d", name, got, want)
				}
			})
		}
	}
}

// TestProFTPDWithoutTickets: ProFTPD without TLS 1.3 gives no session tickets, and takes
// no data connection of ours then. The log says what to set; with either it works.
func TestProFTPDWithoutTickets(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   serverTLS
		works bool
	}{
		{"as it is", serverTLS{strict: true, without3: true}, false},
		{"TLSSessionTickets on", serverTLS{strict: true, without3: true, tickets: true}, true},
		{"NoSessionReuseRequired", serverTLS{without3: true}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			inside := certificateFor(t, p.server)
			root := folder(t)
			write(t, filepath.Join(root, "file"), "content")
			tt.set.file = inside.File
			s := startProtected(t, "proftpd", serverNamed("proftpd").address(p), root, tt.set)
			c := configure(t, p, s.addr)
			c.backend = fmt.Sprintf("tls = { mode = \"explicit\", ca = %q }", inside.File)
			ftproxy := startProxy(t, c)
			client, err := dialIn(p.client, ftproxy.addr4, s)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			for _, verb := range []string{"PASV", "PORT"} {
				got, err := client.get(verb, "file")
				if works := err == nil && string(got) == "content"; works != tt.works {
					t.Errorf("%s: %q, %v", verb, got, err)
				}
			}
			if told := strings.Count(ftproxy.out.String(), "gives no TLS session tickets"); told > 0 == tt.works {
				t.Errorf("the log tells of tickets %d times", told)
			}
		})
	}
}

// refusesStrangers makes sure that a server is strict: a client that resumes nothing
// gets nothing.
func refusesStrangers(t *testing.T, p place, s *server, ca *x509.CertPool) {
	t.Helper()
	write(t, filepath.Join(s.root, "secret"), "secret")
	r, err := logInProtected(p.client, s.addr, s, clientConfig(ca, "", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, err := r.agree("PASV")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = r.begin(d, "RETR secret")
	if err == nil {
		if err := d.conn.(*tls.Conn).Handshake(); err == nil {
			_ = d.conn.(*tls.Conn).CloseWrite() // vsftpd waits for it before it answers.
		}
		err = r.done("RETR secret")
	}
	if refused := (*refusal)(nil); !errors.As(err, &refused) {
		t.Fatalf("%s to a client that resumes no TLS session: %v, want a refusal", s.kind.name, err)
	}
}

// A strictRun is sessions with one server.
type strictRun struct {
	place  place
	server *server
	proxy  *proxy
}

// session moves files of all sizes in both directions, in an order of its own.
func (r *strictRun) session(n int) error {
	client, err := dialIn(r.place.client, r.proxy.addr4, r.server)
	if err != nil {
		return err
	}
	defer client.Close()
	random := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range strictTransfers() {
		size := strictSizes[random.IntN(len(strictSizes))]
		verb := []string{"PASV", "EPSV", "PORT", "EPRT"}[random.IntN(4)]
		if random.IntN(2) == 0 {
			got, err := client.get(verb, fmt.Sprint("down-", size))
			if err != nil || !bytes.Equal(got, content(fmt.Sprint(size), size)) {
				return fmt.Errorf("transfer %d, %s: download of %d bytes: %d, %w", i, verb, size, len(got), err)
			}
			continue
		}
		name := fmt.Sprintf("up-%d-%d", n, i)
		if err := client.put(verb, name, content(name, size)); err != nil {
			return fmt.Errorf("transfer %d, %s: upload of %d bytes: %w", i, verb, size, err)
		}
		if got, err := os.ReadFile(filepath.Join(r.server.root, name)); err != nil || !bytes.Equal(got, content(name, size)) {
			return fmt.Errorf("transfer %d, %s: upload of %d bytes: the server has %d, %w", i, verb, size, len(got), err)
		}
	}
	_, err = client.expect(221, "QUIT")
	return err
}
