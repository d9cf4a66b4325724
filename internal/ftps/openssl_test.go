package ftps

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
)

// openssl skips a test where there is none, but not in CI.
func openssl(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return path
}

// TestCiphersOfServers: an openssl with RSA key exchange only, as servers of 2008 have
// it, is reached under TLS 1.2 with ciphers = "legacy", and only so.
func TestCiphersOfServers(t *testing.T) {
	rsa := rsaCertificate(t)
	for _, tt := range []struct {
		ciphers config.Ciphers
		works   bool
	}{{"", false}, {config.CiphersDefault, false}, {config.CiphersLegacy, true}} {
		for _, suite := range []string{"AES128-SHA", "AES256-GCM-SHA384"} {
			at, _ := serve(t, "-cert", rsa, "-key", rsa, "-tls1_2", "-cipher", suite)
			back, err := NewBackend(&config.Backend{Name: "old", TLS: config.BackendTLS{Mode: config.TLSImplicit, Ciphers: tt.ciphers,
				InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}})
			if err != nil {
				t.Fatal(err)
			}
			if err := shake(at, back.Session("ftp.example.com")); (err == nil) != tt.works {
				t.Errorf("ciphers = %q, %s: %v; want that it works: %t", tt.ciphers, suite, err, tt.works)
			}
		}
	}
}

// TestCiphersOfClients: the same with an openssl as the client.
func TestCiphersOfClients(t *testing.T) {
	path, rsa := openssl(t), rsaCertificate(t)
	for _, tt := range []struct {
		ciphers config.Ciphers
		works   bool
	}{{"", false}, {config.CiphersDefault, false}, {config.CiphersLegacy, true}} {
		front, err := NewFrontend(&config.Frontend{Name: "public", TLS: config.FrontendTLS{Mode: config.TLSImplicit, Ciphers: tt.ciphers,
			Certificates: []config.KeyPair{{Certificate: rsa, Key: rsa}}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				secured := tls.Server(conn, front.Control([][32]byte{{1}}, 1))
				err = secured.Handshake()
				secured.Close()
			}
			done <- err
		}()
		out, _ := exec.Command(path, "s_client", "-connect", l.Addr().String(), "-tls1_2", "-cipher", "AES128-SHA").CombinedOutput()
		if err := <-done; (err == nil) != tt.works {
			t.Errorf("ciphers = %q: %v; want that it works: %t\n%s", tt.ciphers, err, tt.works, out)
		}
		l.Close()
	}
}

// TestFingerprint: the one certificate is trusted, though it is expired and for another
// name, at each connection. Another is not.
func TestFingerprint(t *testing.T) {
	cert, other := ftptest.Certificate(t, "other.example.com"), ftptest.Certificate(t, "ftp.example.com")
	back, err := NewBackend(&config.Backend{Name: "old", TLS: config.BackendTLS{Mode: config.TLSImplicit,
		Fingerprint: fmt.Sprintf("sha256:%x", sha256.Sum256(cert.Leaf.Raw)), MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}})
	if err != nil {
		t.Fatal(err)
	}
	if !back.Verifies() {
		t.Error("the servers count as not verified")
	}
	back.config.Time = func() time.Time { return cert.Leaf.NotAfter.Add(time.Hour) } // It is expired.
	session := back.Session("ftp.example.com")
	keys := [32]byte{1}
	for i, resumed := range []bool{false, true, true} {
		server := &tls.Config{Certificates: []tls.Certificate{cert.Certificate}}
		server.SetSessionTicketKeys([][32]byte{keys})
		if got := resumes(t, session, server); got != resumed {
			t.Errorf("connection %d: resumed %t", i, got)
		}
	}
	at, _ := serve(t, "-cert", other.File, "-key", other.File)
	var wrong *FingerprintError
	if err := shake(at, back.Session("ftp.example.com")); !errors.As(err, &wrong) {
		t.Errorf("another certificate: %v", err)
	}
}

// TestWhatGoCannot pins the limits in docs/tls.md: renegotiation that a server asks for
// ends the connection, and a certificate with a negative serial number is refused.
func TestWhatGoCannot(t *testing.T) {
	rsa := rsaCertificate(t)
	back, err := NewBackend(&config.Backend{Name: "old", TLS: config.BackendTLS{Mode: config.TLSImplicit, InsecureSkipVerify: true}})
	if err != nil {
		t.Fatal(err)
	}
	at, commands := serve(t, "-cert", rsa, "-key", rsa, "-tls1_2")
	conn, err := tls.Dial("tcp", at, back.Session("ftp.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(commands, "R\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err == nil || !IsRenegotiation(err) || !strings.Contains(err.Error(), "tls: no renegotiation") {
		t.Errorf("renegotiation: %v", err)
	}
	negative := rsaCertificate(t, "-set_serial", "-5")
	at, _ = serve(t, "-cert", negative, "-key", negative)
	if err := shake(at, back.Session("ftp.example.com")); err == nil || !strings.Contains(err.Error(), "x509: negative serial number") {
		t.Errorf("a negative serial number: %v", err)
	}
}

// serve starts an openssl s_server, and returns where it listens and takes commands.
func serve(t *testing.T, args ...string) (at string, commands io.Writer) {
	t.Helper()
	cmd := exec.Command(openssl(t), append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe() // It ends with its standard input.
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			return at, in
		}
	}
	t.Fatalf("openssl does not listen: %s", said.String())
	return "", nil
}

// shake makes a handshake, and ends the connection.
func shake(at string, c *tls.Config) error {
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return tls.Client(conn, c).Handshake()
}

// rsaCertificate makes a certificate for RSA key exchange.
func rsaCertificate(t *testing.T, more ...string) (file string) {
	t.Helper()
	file = t.TempDir() + "/rsa.pem"
	out, err := exec.Command(openssl(t), append([]string{"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ftp.example.com",
		"-addext", "subjectAltName=DNS:ftp.example.com", "-keyout", file, "-out", file + ".crt"}, more...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cert, err := os.ReadFile(file + ".crt")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(cert)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}
