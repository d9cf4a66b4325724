package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftproxy/internal/ftptest"
)

const withTLS = `[frontend.public]
listen = "127.0.0.1:0"
backend = "legacy"

[frontend.public.tls]
mode = "required"
certificate = %q
client_ca = %q
require_session_reuse = true

[backend.legacy]
servers = "127.0.0.1:9"

[backend.legacy.tls]
mode = "explicit"
ca = %q
`

// Check reads the certificates, and what is wrong with one is told with its line.
func TestCheckReadsCertificates(t *testing.T) {
	dir := t.TempDir()
	conf := func(certificate, ca string) string {
		path := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(path, fmt.Appendf(nil, withTLS, certificate, ca, ca), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := ftptest.Certificate(t, "ftp.example.com")
	soon := ftptest.CertificateUntil(t, time.Now().Add(100*time.Hour), "soon.example.com")
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	r := runInBackground(t, "check", "-config", conf(good.File, good.File))
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.stderr)
	}
	for _, line := range []string{
		"  TLS required (AUTH TLS), data PROT P only, those with TLS must resume the session, client certificates required\n",
		"  TLS explicit towards servers, data private, certificates verified\n",
	} {
		if !strings.Contains(r.stdout.String(), line) {
			t.Errorf("no %q in %s", line, r.stdout)
		}
	}

	missing := filepath.Join(dir, "missing.pem")
	for _, command := range []string{"check", "serve"} {
		r = runInBackground(t, command, "-config", conf(missing, empty))
		if code := r.exit(); code != exitFailed {
			t.Errorf("%s: exit code %d", command, code)
		}
		for _, want := range []string{
			"config.toml:7: frontend.public.tls.certificate: " + missing + ": no such file; ",
			"config.toml:8: frontend.public.tls.client_ca: " + empty + ": holds no certificate; ",
			"config.toml:16: backend.legacy.tls.ca: " + empty + ": holds no certificate; ",
		} {
			if !strings.Contains(r.stderr.String(), want) {
				t.Errorf("%s: no %q in %s", command, want, r.stderr)
			}
		}
	}

	if err := os.Chmod(soon.File, 0o644); err != nil {
		t.Fatal(err)
	}
	r = runInBackground(t, "check", "-config", conf(soon.File, good.File))
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.stderr)
	}
	for _, want := range []string{"for soon.example.com expires on ", "everybody on this machine can read the private key in " + soon.File + "; run: chmod o= "} {
		if !strings.Contains(r.stderr.String(), want) {
			t.Errorf("no %q in %s", want, r.stderr)
		}
	}
}
