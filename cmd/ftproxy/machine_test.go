package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftproxy/internal/tcp"
)

// A server that is ftproxy itself, by an address of this machine, is an error of the
// start and of check, before anything listens.
func TestServerIsThisMachine(t *testing.T) {
	server, ok := ownAddr(t)
	if !ok {
		t.Skip("this machine has no IPv4 address but loopback")
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("[frontend.public]\nlisten = \":2121\"\nbackend = \"legacy\"\n[backend.legacy]\nservers = %q\n", server)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(":5: backend.legacy.servers: %q is ftproxy itself: this machine has the address, and frontend.public.listen (line 2) listens on it; "+
		"write the address of the FTP server, or another port\n", server)
	for _, command := range []string{"check", "serve"} {
		r := runInBackground(t, command, "-config", path)
		if code := r.exit(); code != exitFailed {
			t.Errorf("%s: exit code %d", command, code)
		}
		if got := r.stderr.String(); !strings.HasSuffix(got, path+want) || strings.Contains(got, "listening") {
			t.Errorf("%s: standard error %q", command, got)
		}
	}
}

// So is a name that leads to such an address, for check. serve does not wait for DNS: a
// session that is led to ftproxy itself ends (TestServerNameIsFtproxy).
func TestServerNameIsThisMachine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	text := "[frontend.public]\nlisten = \":2121\"\nbackend = \"legacy\"\n[backend.legacy]\nservers = [\"ftp.example.net:2121\", \"gone.example.net:2121\", \"ftp.example.net:21\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	p := &program{stdout: &stdout, stderr: &stderr, sysctl: t.TempDir(), lookup: func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host == "gone.example.net" {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}}
	want := path + `:5: backend.legacy.servers: "ftp.example.net:2121" is ftproxy itself: this machine has an address of that name, ` +
		"and frontend.public.listen (line 2) listens on it; write the address of the FTP server, or another port\n"
	if code := p.run(t.Context(), []string{"check", "-config", path}); code != exitFailed || stderr.String() != want {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

// Check notices that the control socket has no directory, and that no client can find
// the name of a certificate.
func TestCheckNotices(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "run", "control.sock")
	r := runInBackground(t, "check", "-config", configFile(t, "127.0.0.1:0", "[control]", fmt.Sprintf("socket = %q", missing)))
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.stderr)
	}
	if want := ":2: control.socket: the directory " + filepath.Dir(missing) + " does not exist; create it"; !strings.Contains(r.stderr.String(), want) {
		t.Errorf("no %q in %s", want, r.stderr)
	}

	old := namelessCertificate(t)
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, withTLS, old, old, old), 0o600); err != nil {
		t.Fatal(err)
	}
	r = runInBackground(t, "check", "-config", path)
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.stderr)
	}
	if want := ":7: frontend.public.tls.certificate: the certificate in " + old + " has no subjectAltName, so most clients reject it; make one"; !strings.Contains(r.stderr.String(), want) {
		t.Errorf("no %q in %s", want, r.stderr)
	}
}

// namelessCertificate is a file with a certificate that has a common name only, as
// those of old instructions, and its key.
func namelessCertificate(t *testing.T) string {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ftp.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	secret := must(x509.MarshalPKCS8PrivateKey(key))
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	path := filepath.Join(t.TempDir(), "old.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ownAddr is an address of this machine that is not loopback, with a port.
func ownAddr(t *testing.T) (netip.AddrPort, bool) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			ip, _ := netip.AddrFromSlice(n.IP.To4())
			return netip.AddrPortFrom(ip, 2121), true
		}
	}
	return netip.AddrPort{}, false
}

// Only addresses of this machine are.
func TestIsLocal(t *testing.T) {
	for text, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "192.0.2.77": false, "2001:db8::77": false} {
		if got := tcp.IsLocal(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if own, ok := ownAddr(t); ok && !tcp.IsLocal(own.Addr()) {
		t.Errorf("%s is not found to be ours", own.Addr())
	}
}
