package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestReuseOffered: with session_reuse = "offer" every client works, whether it resumes
// the TLS session of its control connection or not.
func TestReuseOffered(t *testing.T) {
	throughProxy(t)
	p := newPlace(t)
	s := startEmbedded(t, p.server, folder(t))
	s.kind = serverNamed("embedded")
	certificate := certificateFor(t, p.proxy)
	c := configure(t, p, s.addr)
	p.passive = c.passive
	c.frontend = fmt.Sprintf("tls = { mode = \"required\", certificate = %q, session_reuse = \"offer\" }", certificate.File)
	c.backend = "data = \"passive\"" // ftpserverlib connects from another address than its own.
	proxy := startProxy(t, c)
	down, up := content("down", 1_000_003), content("up", 1_000_003)
	write(t, filepath.Join(s.root, "down"), string(down))
	for _, tt := range reuseClients {
		name := fmt.Sprintf("%s-%s-resumes-%t", tt.client, tt.version, tt.resume)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cl client
			for _, k := range clientKinds {
				if k.name == tt.client {
					cl = k.find(t)
				}
			}
			to := target{
				addr: proxy.addr4, user: s.user, pass: s.pass, bind: p.client, passive: p.passive,
				tls: clientTLS{mode: "explicit", ca: certificate.File, version: tt.version, resume: tt.resume},
			}
			for _, m := range tlsModes {
				if m.verb == "PORT" && tt.client == "curl" {
					continue // See tlsLimits.
				}
				local, stored := filepath.Join(t.TempDir(), "file"), "up-"+name+m.verb
				err := cl.get(newSession(t, to, m), plain("down"), local, whole)
				if got, _ := os.ReadFile(local); err != nil || !bytes.Equal(got, down) {
					t.Errorf("%s, download: %d bytes, %v", m, len(got), err)
				}
				write(t, local, string(up))
				err = cl.put(newSession(t, to, m), local, plain(stored), whole)
				if got, _ := os.ReadFile(filepath.Join(s.root, stored)); err != nil || !bytes.Equal(got, up) {
					t.Errorf("%s, upload: %d bytes, %v", m, len(got), err)
				}
			}
		})
	}
}
