package integration

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"ftproxy/internal/ftptest"
)

// TestCertificateRenewed: a certificate is renewed and ftproxy told by SIGHUP, as
// certbot's deploy hook does it, while sessions transfer. They and their transfers go
// on, and go on resuming the TLS sessions that they began before; new ones see the new
// certificate. Resumption is required, so a data connection that does not fails.
func TestCertificateRenewed(t *testing.T) {
	const sessions, renewals, between = 4, 3, 20
	for _, version := range []string{"1.2", "1.3"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := newReuseRig(t, true, rangeSize)
			write(t, filepath.Join(r.server.root, "down"), string(content("down", 300_007)))
			var (
				all   sync.WaitGroup
				moved atomic.Int64
				stop  = make(chan struct{})
			)
			t.Cleanup(all.Wait) // after the clients' connections are closed
			for i := range sessions {
				c := r.logIn(t, version)
				all.Go(func() {
					n := 0
					for ; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						if err := r.move(c, fmt.Sprintf("up-%d-%d", i, n)); err != nil {
							t.Errorf("session %d, transfer %d: %v", i, n, err)
							return
						}
						moved.Add(2)
					}
				})
			}
			before := r.ftplib(t, version, 150)
			for range renewals {
				seen := moved.Load()
				waitFor(t, "transfers go on", patience, func() bool { return t.Failed() || moved.Load() >= seen+between })
				renewed := certificateFor(t, r.place.proxy)
				r.renew(t, renewed)
				fresh := r.logIn(t, version)
				if got := fresh.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0]; !got.Equal(renewed.Leaf) {
					t.Errorf("a new session sees certificate %v, want %v", got.SerialNumber, renewed.Leaf.SerialNumber)
				}
				if err := r.move(fresh, "up-fresh"); err != nil {
					t.Errorf("a new session: %v", err)
				}
			}
			seen := moved.Load()
			waitFor(t, "transfers go on", patience, func() bool { return t.Failed() || moved.Load() >= seen+between })
			close(stop)
			all.Wait()
			if err := before(); err != nil {
				t.Errorf("ftplib: %v", err)
			}
			m := r.proxy.metrics(t)
			if m["ftproxy_data_reuse_refused_total"] != 0 {
				t.Errorf("%v data connections without their session", m["ftproxy_data_reuse_refused_total"])
			}
			t.Logf("%d transfers of Go clients and 150 of ftplib's across %d renewals", moved.Load(), renewals)
		})
	}
}

// move downloads a file and uploads it again.
func (r *reuseRig) move(c *raw, as string) error {
	got, err := c.get("PASV", "down")
	if want := content("down", 300_007); err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("download: %d bytes of %d, %w", len(got), len(want), err)
	}
	if err := c.put("EPSV", as, got); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	stored, err := os.ReadFile(filepath.Join(r.server.root, as))
	if err != nil || !bytes.Equal(stored, got) {
		return fmt.Errorf("upload: the server has %d bytes of %d, %w", len(stored), len(got), err)
	}
	return os.Remove(filepath.Join(r.server.root, as))
}

// renew puts another certificate in the place of the old one, and tells ftproxy.
func (r *reuseRig) renew(t *testing.T, renewed ftptest.TestCertificate) {
	t.Helper()
	reloads := strings.Count(r.proxy.out.String(), `"message":"reloaded"`)
	if err := os.Rename(renewed.File, r.certificate.File); err != nil {
		t.Fatal(err)
	}
	renewed.File = r.certificate.File
	r.certificate = renewed
	if err := r.proxy.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "ftproxy has reloaded", patience, func() bool {
		return strings.Count(r.proxy.out.String(), `"message":"reloaded"`) > reloads
	})
}

// ftplib begins a session of Python's that downloads a file many times, resuming its
// TLS session, and returns how to wait for its end.
func (r *reuseRig) ftplib(t *testing.T, version string, times int) (wait func() error) {
	t.Helper()
	local := filepath.Join(t.TempDir(), "file")
	args := []string{"get-all"}
	for range times {
		args = append(args, "down", local)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem") // as it was when the session began
	text, err := os.ReadFile(r.certificate.File)
	if err != nil {
		t.Fatal(err)
	}
	write(t, ca, string(text))
	order, err := json.Marshal(map[string]any{
		"host": r.proxy.addr4.Addr(), "port": r.proxy.addr4.Port(), "bind": r.place.client, "mode": "PASV", "encoding": "utf-8",
		"user": r.server.user, "password": r.server.pass, "args": args,
		"tls": "explicit", "clear": false, "ca": ca, "version": version, "reuse": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python(t), "testdata/client.py")
	cmd.Env = environ(t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stdin = bytes.NewReader(order)
	said := new(output)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "ftplib has begun", patience, func() bool { return strings.Contains(said.String(), "RETR down") })
	return func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w\n%s", err, said.tail(30))
		}
		return nil
	}
}
