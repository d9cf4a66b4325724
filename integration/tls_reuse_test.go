package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ftproxy/internal/ftptest"
)

// A reuseRig is an ftproxy whose clients' data connections must resume the TLS
// session of their control connection, in front of a vsftpd without TLS.
type reuseRig struct {
	place       place
	server      *server
	proxy       *proxy
	certificate ftptest.TestCertificate
}

// newReuseRig starts both. ports is how many passive ports there are.
func newReuseRig(t *testing.T, require bool, ports uint16) *reuseRig {
	t.Helper()
	throughProxy(t)
	p := newPlace(t)
	r := &reuseRig{place: p, server: startVsftpd(t, p.server, folder(t)), certificate: certificateFor(t, p.proxy)}
	r.server.kind = serverNamed("vsftpd")
	c := configure(t, p, r.server.addr)
	c.passive.last = c.passive.first + ports - 1
	r.place.passive = c.passive
	c.frontend = fmt.Sprintf("tls = { mode = \"required\", certificate = %q, require_session_reuse = %t }", r.certificate.File, require)
	r.proxy = startProxy(t, c)
	return r
}

// reuseClients is what clients do where resumption is required: the table in
// docs/tls.md.
var reuseClients = []struct {
	client, version string
	resume          bool // ftplib is made to
	works           bool
}{
	{"curl", "1.2", false, false},
	{"curl", "1.3", false, true},
	{"lftp", "1.2", false, true},
	{"lftp", "1.3", false, true},
	{"ftplib", "1.2", false, false},
	{"ftplib", "1.3", false, false},
	{"ftplib", "1.2", true, true},
	{"ftplib", "1.3", true, true},
}

// TestReuseRequired: the clients that resume work, in passive and in active mode, and
// the others are refused.
func TestReuseRequired(t *testing.T) {
	r := newReuseRig(t, true, rangeSize)
	down, up := content("down", 1_000_003), content("up", 1_000_003)
	write(t, filepath.Join(r.server.root, "down"), string(down))
	for _, tt := range reuseClients {
		name := tt.client + "-" + tt.version
		if tt.resume {
			name += "-resumes"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cl client
			for _, k := range clientKinds {
				if k.name == tt.client {
					cl = k.find(t)
				}
			}
			to := target{
				addr: r.proxy.addr4, user: r.server.user, pass: r.server.pass, bind: r.place.client, passive: r.place.passive,
				tls: clientTLS{mode: "explicit", ca: r.certificate.File, version: tt.version, resume: tt.resume},
			}
			for _, m := range tlsModes {
				if m.verb == "PORT" && tt.client == "curl" {
					continue // See tlsLimits.
				}
				local := filepath.Join(t.TempDir(), "file")
				err := cl.get(newSession(t, to, m), plain("down"), local, whole)
				if got, _ := os.ReadFile(local); (err == nil && bytes.Equal(got, down)) != tt.works {
					t.Errorf("%s, download: %d bytes, %v; want that it works: %t", m, len(got), err, tt.works)
				}
				stored := "up-" + name + m.verb
				write(t, local, string(up))
				err = cl.put(newSession(t, to, m), local, plain(stored), whole)
				if got, _ := os.ReadFile(filepath.Join(r.server.root, stored)); (err == nil && bytes.Equal(got, up)) != tt.works {
					t.Errorf("%s, upload: %d bytes, %v; want that it works: %t", m, len(got), err, tt.works)
				}
			}
		})
	}
}

// logIn is a client that resumes its own session.
func (r *reuseRig) logIn(t *testing.T, version string) *raw {
	t.Helper()
	c, err := logInProtected(r.place.client, r.proxy.addr4, r.server, clientConfig(r.certificate.Pool, version, tls.NewLRUClientSessionCache(8)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A thief prepares itself. It is then given the address of a data port that is
// another's, comes from the other's own address, and returns what it gets there.
type thief func(t *testing.T, r *reuseRig, version string) func(at netip.AddrPort) []byte

// strangerThief is openssl with no ticket.
func strangerThief(t *testing.T, r *reuseRig, version string) func(at netip.AddrPort) []byte {
	openssl := command(t, "openssl")
	return func(at netip.AddrPort) []byte {
		cmd := exec.CommandContext(t.Context(), openssl, "s_client", "-connect", at.String(), "-bind", r.place.client.String()+":0",
			"-CAfile", r.certificate.File, "-quiet", "-no_ign_eof", opensslVersion(version))
		stdin, err := cmd.StdinPipe() // It ends with its input.
		if err != nil {
			t.Error(err)
			return nil
		}
		defer stdin.Close()
		got, _ := cmd.Output()
		return got
	}
}

func opensslVersion(version string) string { return "-tls" + strings.ReplaceAll(version, ".", "_") }

// insiderThief is Python with the ticket of a session of its own.
func insiderThief(t *testing.T, r *reuseRig, version string) func(at netip.AddrPort) []byte {
	order, err := json.Marshal(map[string]any{
		"host": r.proxy.addr4.Addr(), "port": r.proxy.addr4.Port(), "bind": r.place.client, "ca": r.certificate.File,
		"user": r.server.user, "password": r.server.pass, "version": version,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python(t), "testdata/thief.py")
	cmd.Env = environ(t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(stdin, "%s\n", order)
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		_ = cmd.Wait()
		t.Fatalf("the thief has no session of its own: %q, %v\n%s", line, err, &stderr)
	}
	return func(at netip.AddrPort) []byte {
		fmt.Fprintf(stdin, "%s %d\n", at.Addr(), at.Port())
		got, _ := io.ReadAll(lines)
		_ = cmd.Wait()
		return got
	}
}

// TestDataThief: who connects to another's data port from the same address, before
// the victim does, gets nothing where resumption is required, with a ticket of its
// own neither, and the victim gets all. Where it is not required, it gets the file.
func TestDataThief(t *testing.T) {
	for _, require := range []bool{true, false} {
		t.Run(fmt.Sprintf("required-%t", require), func(t *testing.T) {
			t.Parallel()
			r := newReuseRig(t, require, rangeSize)
			secret := content("secret", 100_003)
			write(t, filepath.Join(r.server.root, "secret"), string(secret))
			for _, version := range []string{"1.2", "1.3"} {
				for name, prepare := range map[string]thief{"stranger": strangerThief, "insider": insiderThief} {
					t.Run(name+"-"+version, func(t *testing.T) {
						t.Parallel()
						steal := prepare(t, r, version)
						victim := r.logIn(t, version)
						d, err := victim.agree("PASV")
						if err != nil {
							t.Fatal(err)
						}
						if require {
							if got := steal(d.to); len(got) > 0 {
								t.Errorf("the thief has %d bytes", len(got))
							}
							if got, err := victim.download(d, "secret"); err != nil || !bytes.Equal(got, secret) {
								t.Errorf("the victim has %d bytes of %d, %v", len(got), len(secret), err)
							}
							return
						}
						stolen := make(chan []byte, 1)
						go func() { stolen <- steal(d.to) }()
						if _, err := victim.begins(1, "RETR secret"); err != nil {
							t.Fatal(err)
						}
						if got := <-stolen; !bytes.Equal(got, secret) {
							t.Errorf("the thief has %d bytes: is there anything to prevent?", len(got))
						}
					})
				}
			}
			t.Cleanup(func() {
				m := r.proxy.metrics(t) // Whose ticket is another's is a stranger as any.
				if refused, strangers := m["ftproxy_data_reuse_refused_total"], m["ftproxy_data_strangers_closed_total"]; require && (refused != 2 || strangers != 2) {
					t.Errorf("%v data connections refused and %v of strangers closed, want 2 and 2", refused, strangers)
				}
			})
		})
	}
}

// TestOnePassivePort: any number of clients behind one address share one port at the
// same time, because their TLS sessions tell them apart. None of them waits.
func TestOnePassivePort(t *testing.T) {
	const sessions, transfers = 8, 25
	for _, version := range []string{"1.2", "1.3"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := newReuseRig(t, true, 1)
			var all sync.WaitGroup
			t.Cleanup(all.Wait) // after the clients' connections are closed
			for i := range sessions {
				write(t, filepath.Join(r.server.root, fmt.Sprint("down-", i)), string(content(fmt.Sprint(i), 50_000+i)))
				c := r.logIn(t, version)
				all.Go(func() {
					for n := range transfers {
						got, err := c.get("PASV", fmt.Sprint("down-", i))
						if err == nil && !bytes.Equal(got, content(fmt.Sprint(i), 50_000+i)) {
							err = fmt.Errorf("%d bytes that are not its own", len(got))
						}
						if err == nil {
							err = c.put("EPSV", fmt.Sprintf("up-%d-%d", i, n), content("up", 10_000))
						}
						if err != nil {
							t.Errorf("session %d, transfer %d: %v", i, n, err)
							return
						}
					}
				})
			}
			all.Wait()
			m := r.proxy.metrics(t)
			if m["ftproxy_data_port_waits_total"] != 0 || m["ftproxy_data_port_leases_total"] != 2*sessions*transfers {
				t.Errorf("%v of %v leases of the port have waited, want none of %d",
					m["ftproxy_data_port_waits_total"], m["ftproxy_data_port_leases_total"], 2*sessions*transfers)
			}
		})
	}
}

// reuseTable is what docs/tls.md says of reuseClients.
func reuseTable() string {
	var w strings.Builder
	w.WriteString("| client | TLS 1.2 | TLS 1.3 |\n|---|---|---|\n")
	for i := 0; i < len(reuseClients); i += 2 { // one version after the other
		old, modern := reuseClients[i], reuseClients[i+1]
		name := old.client
		if old.resume {
			name += ", made to resume"
		}
		works := map[bool]string{true: "works", false: "522"}
		fmt.Fprintf(&w, "| %s | %s | %s |\n", name, works[old.works], works[modern.works])
	}
	return w.String()
}

// TestReuseTable: docs/tls.md says what TestReuseRequired has measured.
func TestReuseTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "tls.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n"+reuseTable()+"\n") {
		t.Errorf("docs/tls.md has another table than\n%s", reuseTable())
	}
}
