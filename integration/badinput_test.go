package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ftproxy/rewrite"
)

// refuses runs ftproxy, which must end with code 1 and say why on stderr.
func refuses(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := ftproxyCommand(append([]string{binary}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%q: exit code %d, want 1\n%s%s", args, code, stdout.String(), stderr.String())
	}
	return stderr.String()
}

func TestBadConfiguration(t *testing.T) {
	throughProxy(t)
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, `[frontend.public]
listen = "127.0.0.1:2121"
passive_ports = "40-30"
backend = "nowhere"
colour = "blue"
[backend.inside]
servers = "127.0.0.1:21"
`)
	for _, command := range []string{"serve", "check"} {
		said := refuses(t, command, "-config", path)
		for line, what := range map[int]string{3: "passive_ports", 4: "nowhere", 5: "colour"} {
			want := regexp.MustCompile(fmt.Sprintf(`(?m)^%s:%d: .*%s`, regexp.QuoteMeta(path), line, what))
			if !want.MatchString(said) {
				t.Errorf("%s: nothing about line %d (%s) in:\n%s", command, line, what, said)
			}
		}
	}
}

func TestMissingConfiguration(t *testing.T) {
	throughProxy(t)
	path := filepath.Join(t.TempDir(), "none.toml")
	if said := refuses(t, "serve", "-config", path); !strings.Contains(said, path) {
		t.Errorf("%q is not named in:\n%s", path, said)
	}
}

func TestPortInUse(t *testing.T) {
	throughProxy(t)
	p := newPlace(t)
	l, err := net.Listen("tcp", netip.AddrPortFrom(p.proxy, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := configure(t, p, netip.AddrPortFrom(p.server, 21))
	c.listen = []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, c.text(netip.AddrPortFrom(p.proxy, freePort(t, p.proxy))))
	if said := refuses(t, "serve", "-config", path); !strings.Contains(said, l.Addr().String()) || !strings.Contains(said, "in use") {
		t.Errorf("%v in use is not what is said:\n%s", l.Addr(), said)
	}
}

// TestServerDown: nobody listens where the server should be.
func TestServerDown(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	ftproxy := startProxy(t, configure(t, p, netip.AddrPortFrom(p.server, freePort(t, p.server))))
	wants421(t, p, ftproxy)
}

// TestServerSilent: the server takes connections and says nothing.
func TestServerSilent(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	l, err := net.Listen("tcp", netip.AddrPortFrom(p.server, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := configure(t, p, l.Addr().(*net.TCPAddr).AddrPort())
	c.timeouts = map[string]string{"greeting": "1s"}
	wants421(t, p, startProxy(t, c))
}

// wants421 connects and wants 421 and the end of the connection in time, and no
// word about the inside.
func wants421(t *testing.T, p place, ftproxy *proxy) {
	t.Helper()
	c, err := net.Dial("tcp", ftproxy.addr4.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("the connection did not end: %v", err)
	}
	if !bytes.HasPrefix(said, []byte("421 ")) || bytes.Contains(said, []byte(p.server.String())) {
		t.Errorf("the client got %q, want 421", said)
	}
}

// TestRangeFull: one port for servers to connect to, and another session has it
// as long as its transfer runs.
func TestRangeFull(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	s := startEmbedded(t, netip.MustParseAddr("127.0.0.1"), folder(t))
	write(t, filepath.Join(s.root, "small"), "small")
	serveBig(t, s)
	c := configure(t, p, s.addr)
	c.dataPort.last = c.dataPort.first
	const portWait = time.Second
	c.timeouts = map[string]string{"port_wait": portWait.String()}
	ftproxy := startProxy(t, c)
	first := begin(t, p.client, ftproxy.addr4, s, "download", "active")
	close(first.stop)
	second := loggedIn(t, p.client, ftproxy, s)
	l, err := net.Listen("tcp", netip.AddrPortFrom(p.client, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := "PORT " + rewrite.FormatPORT(l.Addr().(*net.TCPAddr).AddrPort())
	begin := time.Now()
	if _, err := second.expect(425, port); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d < portWait {
		t.Errorf("425 came after %v, port_wait is %v", d, portWait)
	}
	first.data.Close()
	if code, text, err := first.reply(); code < 400 {
		t.Errorf("the first session: %d %s, %v", code, text, err)
	}
	// The session that was refused lives, and the port is free now.
	for _, step := range []struct {
		code    int
		command string
	}{{200, port}, {150, "RETR small"}} {
		if _, err := second.expect(step.code, step.command); err != nil {
			t.Fatal(err)
		}
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	data, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	data.SetDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(data); err != nil || string(got) != "small" {
		t.Errorf("the second session: %q, %v", got, err)
	}
	if code, text, err := second.reply(); code != 226 {
		t.Errorf("the second session: %d %s, %v", code, text, err)
	}
}

// TestOnePortTwoClients: two leases pend on one port; the data connections come
// in reverse order, and each gets its own data.
func TestOnePortTwoClients(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	s := startEmbedded(t, netip.MustParseAddr("127.0.0.1"), folder(t))
	write(t, filepath.Join(s.root, "a"), "for a")
	write(t, filepath.Join(s.root, "b"), "for b")
	c := configure(t, p, s.addr)
	c.passive.last = c.passive.first
	ftproxy := startProxy(t, c)
	a, b := loggedIn(t, p.client, ftproxy, s), loggedIn(t, p.client.Next(), ftproxy, s)
	atA, err := a.passive()
	if err != nil {
		t.Fatal(err)
	}
	atB, err := b.passive()
	if err != nil {
		t.Fatal(err)
	}
	if atA != atB {
		t.Errorf("%v and %v, want one port", atA, atB)
	}
	if data, err := b.fetch("b", atB); err != nil || string(data) != "for b" {
		t.Errorf("b got %q, %v", data, err)
	}
	if data, err := a.fetch("a", atA); err != nil || string(data) != "for a" {
		t.Errorf("a got %q, %v", data, err)
	}
}

func loggedIn(t *testing.T, from netip.Addr, ftproxy *proxy, s *server) *raw {
	t.Helper()
	r, code, err := dialRaw(from, ftproxy.addr4, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if code != 220 {
		t.Fatalf("greeting %d", code)
	}
	if err := r.login(s.user, s.pass); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGarbage: whatever a client sends, it gets FTP replies or the end of its
// connection, and the next client is served.
func TestGarbage(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	s := startEmbedded(t, netip.MustParseAddr("127.0.0.1"), folder(t))
	ftproxy := startProxy(t, configure(t, p, s.addr))
	random := filepath.Join(t.TempDir(), "random")
	randomFile(t, random, 1<<20)
	noise, err := os.ReadFile(random)
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string][]byte{
		"random bytes":    noise,
		"a TLS hello":     clientHello(t),
		"HTTP":            []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
		"a long line":     []byte("NOOP " + strings.Repeat("x", 10_000) + "\r\n"),
		"100 KB no LF":    []byte(strings.Repeat("A", 100_000)),
		"NUL and CR":      []byte("NOOP\x00\r\nUSER a\rPASS b\r\n\r\n\n\n"),
		"only LFs":        []byte(strings.Repeat("\n", 5000)),
		"Telnet":          []byte(strings.Repeat("\xff\xfd\x01\xff\xf4\xff\xf2", 2000)),
		"verbs too early": []byte("RETR x\r\nPASV\r\nSTOR y\r\nABOR\r\nREST 5\r\n"),
		"bad addresses":   []byte("PORT 1,2,3\r\nPORT 999,0,0,1,1,1\r\nEPRT |9|x|y|\r\nEPSV 77\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", ftproxy.addr4.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			var wrote error
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, wrote = c.Write(bytes)
				if wrote == nil {
					_, wrote = io.WriteString(c, "\r\nNOOP\r\nQUIT\r\n")
				}
				c.(*net.TCPConn).CloseWrite()
			}()
			said, err := io.ReadAll(c)
			<-done
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("the session hangs; it said %d bytes:\n%.2000s", len(said), said)
			}
			reply := regexp.MustCompile(`^[1-5][0-9][0-9][ -]|^ `)
			for line := range strings.Lines(stripTelnet(string(said))) {
				if strings.HasSuffix(line, "\r\n") && !reply.MatchString(line) {
					t.Errorf("no FTP reply: %q", line)
				}
			}
			loggedIn(t, p.client, ftproxy, s)
		})
	}
	if !ftproxy.running() {
		t.Error("ftproxy ended")
	}
}

// stripTelnet removes the three-byte refusals of Telnet options.
func stripTelnet(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == 0xff && i+2 < len(s) && s[i+1] >= 0xfb {
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// clientHello is what a client of implicit TLS sends first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Client(a, &tls.Config{ServerName: "ftp.example.com"}).Handshake()
	}()
	buf := make([]byte, 4096)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	<-done
	return buf[:n]
}
