package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftproxy/internal/ftptest"
)

// What a scanner of TLS looks at, with openssl.

// A scanned ftproxy has explicit TLS, implicit TLS, and TLS 1.3 alone.
type scanned struct {
	explicit, implicit, modern netip.AddrPort
	first, second              ftptest.TestCertificate
}

func newScanned(t *testing.T) *scanned {
	t.Helper()
	p := newPlace(t)
	s := startVsftpd(t, p.server, folder(t))
	x := &scanned{
		first: ftptest.Certificate(t, "one.example.com"), second: ftptest.Certificate(t, "two.example.com"),
		implicit: netip.AddrPortFrom(p.proxy, freePort(t, p.proxy)), modern: netip.AddrPortFrom(p.proxy, freePort(t, p.proxy)),
	}
	c := configure(t, p, s.addr)
	c.frontend = fmt.Sprintf("tls = { mode = \"optional\", certificate = [%q, %q] }", x.first.File, x.second.File)
	c.more = fmt.Sprintf(`[frontend.implicit]
listen = %q
passive_ports = %q
backend = "inside"
tls = { mode = "implicit", certificate = [%[3]q, %[4]q] }
[frontend.modern]
listen = %[5]q
passive_ports = %[2]q
backend = "inside"
tls = { mode = "required", certificate = %[3]q, min_version = "1.3" }
`, x.implicit, p.passive, x.first.File, x.second.File, x.modern)
	x.explicit = startProxy(t, c).addr4
	return x
}

// openssl runs s_client, with what it is given to say, and returns all that it says.
func openssl(t *testing.T, say string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command(t, "openssl"), append([]string{"s_client"}, args...)...)
	cmd.Stdin = strings.NewReader(say)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%q hangs:\n%s", cmd.Args, out)
	}
	return string(out), err
}

// permissive is a TLS server of Go's that takes old versions. It proves that openssl
// here can speak them.
func permissive(t *testing.T) string {
	t.Helper()
	c := ftptest.Certificate(t, "old.example.com")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c.Certificate}, MinVersion: tls.VersionTLS10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestScan: old versions and compression are not there, and a session cannot be
// negotiated again; explicit and implicit.
func TestScan(t *testing.T) {
	x := newScanned(t)
	old := permissive(t)
	for _, way := range []struct {
		name string
		args []string
	}{
		{"explicit", []string{"-connect", x.explicit.String(), "-starttls", "ftp"}},
		{"implicit", []string{"-connect", x.implicit.String()}},
	} {
		t.Run(way.name, func(t *testing.T) {
			for _, version := range []string{"-tls1", "-tls1_1"} {
				lax := []string{version, "-cipher", "DEFAULT@SECLEVEL=0"}
				if out, err := openssl(t, "", append(lax, "-connect", old)...); err != nil {
					t.Fatalf("openssl cannot do %s: %s", version, out)
				}
				if out, err := openssl(t, "", append(lax, way.args...)...); err == nil || !strings.Contains(out, "alert protocol version") {
					t.Errorf("%s: %v, want that the version is refused\n%s", version, err, out)
				}
			}
			for version, says := range map[string]string{"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"} {
				out, err := openssl(t, "", append([]string{version, "-comp"}, way.args...)...)
				if err != nil || !strings.Contains(out, "New, "+says) || !strings.Contains(out, "Compression: NONE") {
					t.Errorf("%s: %v\n%s", version, err, out)
				}
			}
			out, err := openssl(t, "R\n", append([]string{"-tls1_2"}, way.args...)...)
			if err == nil || !strings.Contains(out, "RENEGOTIATING") || !strings.Contains(out, "alert unexpected message") {
				t.Errorf("renegotiation: %v\n%s", err, out)
			}
			for _, name := range []string{"one.example.com", "two.example.com"} {
				if out, err := openssl(t, "", append([]string{"-servername", name}, way.args...)...); err != nil || !strings.Contains(out, "subject=CN = "+name) {
					t.Errorf("%s: another certificate, %v\n%s", name, err, out)
				}
			}
			if out, err := openssl(t, "", append([]string{"-servername", "three.example.com"}, way.args...)...); err != nil || !strings.Contains(out, "subject=CN = one.example.com") {
				t.Errorf("a name that no certificate has: not the first, %v\n%s", err, out)
			}
		})
	}
	t.Run("1.3 alone", func(t *testing.T) {
		way := []string{"-connect", x.modern.String(), "-starttls", "ftp"}
		if out, err := openssl(t, "", append(way, "-tls1_2")...); err == nil || !strings.Contains(out, "alert protocol version") {
			t.Errorf("TLS 1.2: %v\n%s", err, out)
		}
		if out, err := openssl(t, "", append(way, "-tls1_3")...); err != nil {
			t.Errorf("TLS 1.3: %v\n%s", err, out)
		}
	})
	t.Run("SSLv3", func(t *testing.T) { // openssl has forgotten it
		conn, err := net.Dial("tcp", x.implicit.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		hello := append([]byte{1, 0, 0, 41, 3, 0}, make([]byte, 32)...) // ClientHello of SSL 3.0, and its random
		hello = append(hello, 0, 0, 2, 0, 0x0a, 1, 0)                   // no session, RSA with 3DES, no compression
		record := append([]byte{22, 3, 0, 0, byte(len(hello))}, hello...)
		if _, err := conn.Write(record); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if len(got) < 7 || got[0] != 21 || got[5] != 2 {
			t.Errorf("it is answered %x, %v; want a fatal alert", got, err)
		}
	})
}

// TestInjection: what comes after AUTH in the clear, in the same segment, is not
// taken for what the client says under TLS, and no server hears of it.
func TestInjection(t *testing.T) {
	p := newPlace(t)
	s := startVsftpd(t, p.server, folder(t))
	certificate := certificateFor(t, p.proxy)
	c := configure(t, p, s.addr)
	c.frontend = fmt.Sprintf("tls = { mode = \"optional\", certificate = %q }", certificate.File)
	proxy := startProxy(t, c)
	r, _, err := dialRaw(p.client, proxy.addr4, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.WriteString(r, "AUTH TLS\r\nUSER mallory\r\n"); err != nil {
		t.Fatal(err)
	}
	if code, text, err := r.reply(); err != nil || code != 421 {
		t.Errorf("%d %s, %v; want 421", code, text, err)
	}
	if code, text, err := r.reply(); !errors.Is(err, io.EOF) {
		t.Errorf("%d %s, %v; want that it ends", code, text, err)
	}
	if strings.Contains(s.log(), "mallory") {
		t.Error("the server has heard of it")
	}
	user, err := logInProtected(p.client, proxy.addr4, s, clientConfig(certificate.Pool, "", nil))
	if err != nil {
		t.Fatalf("who waits for 234: %v", err)
	}
	defer user.Close()
	write(t, filepath.Join(s.root, "file"), "file")
	if got, err := user.get("PASV", "file"); err != nil || string(got) != "file" {
		t.Errorf("%q, %v", got, err)
	}
}
