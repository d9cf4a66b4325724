package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/admin"
	"ftproxy/internal/binds"
	"ftproxy/internal/listeners"
)

// configFile writes a configuration for listen, with a server that nobody runs.
func configFile(t *testing.T, listen string, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	text := strings.Join(more, "\n") + fmt.Sprintf(`
[frontend.public]
listen = %q
backend = "legacy"
[backend.legacy]
servers = "127.0.0.1:1"
`, listen)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// events are the messages of a log, with those of its fields that are texts.
func events(t *testing.T, log string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(log) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func event1(t *testing.T, log, message string) map[string]any {
	t.Helper()
	for _, e := range events(t, log) {
		if e["message"] == message {
			return e
		}
	}
	t.Fatalf("no event %q in\n%s", message, log)
	return nil
}

// serve listens, says where, and ends with 0 at SIGTERM.
func TestServe(t *testing.T) {
	for _, stop := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		r := runInBackground(t, "serve", "-config", configFile(t, "127.0.0.1:0"))
		e := event1(t, r.waitFor(r.stderr, `"listening"`), "listening")
		if e["frontend"] != "public" || e["backend"] != "legacy" || e["level"] != "info" {
			t.Errorf("listening: %v", e)
		}
		conn, err := net.Dial("tcp", e["listen"].(string))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()

		r.signals <- stop
		if code := r.exit(); code != exitOK {
			t.Errorf("after %v: exit code %d", stop, code)
		}
		event1(t, r.stderr.String(), "stopped")
		if _, err := net.Dial("tcp", e["listen"].(string)); err == nil {
			t.Error("still listening after the end")
		}
		if r.stdout.String() != "" {
			t.Errorf("standard output: %q", r.stdout)
		}
	}
}

// The admin address answers while there is a process, and while it drains it
// says so, so that a balancer sends nobody.
func TestServeAdmin(t *testing.T) {
	r := runInBackground(t, "-config", configFile(t, "127.0.0.1:0",
		"[admin]", `listen = "127.0.0.1:`+freePort(t)+`"`,
		"[timeouts]", `shutdown_delay = "1h"`))
	admin := event1(t, r.waitFor(r.stderr, `"admin listening"`), "admin listening")["listen"].(string)
	get := func(path string) (int, string) {
		a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(must(http.NewRequest("GET", "http://"+admin+path, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		return a.StatusCode, string(must(io.ReadAll(a.Body)))
	}
	if code, _ := get("/readyz"); code != 200 {
		t.Errorf("readyz: %d", code)
	}
	if code, text := get("/metrics"); code != 200 || !strings.Contains(text, "\nftproxy_build_info{") {
		t.Errorf("metrics: %d\n%s", code, text)
	}
	r.signals <- syscall.SIGTERM
	r.waitFor(r.stderr, `"stopping"`)
	if code, _ := get("/readyz"); code != 503 {
		t.Errorf("readyz while draining: %d", code)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz while draining: %d", code)
	}
	r.signals <- syscall.SIGTERM // the second one does not wait an hour
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := net.Dial("tcp", admin); err == nil {
		t.Error("the admin address outlives the process")
	}
}

// freePort is a port that nobody listens on now. It lies below those that the
// kernel gives to outgoing connections, and where no other package looks for one.
func freePort(t *testing.T) string {
	t.Helper()
	for port := 32100 + os.Getpid()%600; port < 32768; port++ {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return fmt.Sprint(port)
		}
	}
	t.Fatal("no free port")
	return ""
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A port in use: which frontend, which address, what to do; and nothing stays open.
func TestServePortInUse(t *testing.T) {
	taken := must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port

	r := runInBackground(t, "serve", "-config", configFile(t, taken.Addr().String()))
	if code := r.exit(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	want := fmt.Sprintf("ftproxy: frontend public: cannot listen on 127.0.0.1:%d: the port is in use by another program; "+
		"`ss -ltnp 'sport = :%d'` shows which: stop it, or change frontend.public.listen\n", port, port)
	if got := r.stderr.String(); got != want {
		t.Errorf("standard error:\n%swant:\n%s", got, want)
	}

	r = runInBackground(t, "serve", "-config", configFile(t, "127.0.0.1:0", "[admin]", fmt.Sprintf("listen = %q", taken.Addr())))
	if code := r.exit(); code != exitFailed {
		t.Errorf("admin: exit code %d", code)
	}
	if got := r.stderr.String(); !strings.Contains(got, "\nftproxy: admin: cannot listen on 127.0.0.1:") || !strings.HasSuffix(got, "change admin.listen\n") {
		t.Errorf("admin: standard error %q", got)
	}
}

func TestExplain(t *testing.T) {
	failed := func(frontend, address string, err error) error {
		a := netip.MustParseAddrPort(address)
		return &listeners.Error{Frontend: frontend, Addr: a,
			Err: &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(a), Err: os.NewSyscallError("bind", err)}}
	}
	tests := []struct {
		name  string
		err   error
		is    error
		parts []string // of one line each, in this order
	}{
		{"privileged port", failed("public", "0.0.0.0:21", syscall.EACCES), syscall.EACCES,
			[]string{"frontend public: cannot listen on 0.0.0.0:21: ports below 1024 need CAP_NET_BIND_SERVICE: `setcap "}},
		{"forbidden otherwise", failed("public", "0.0.0.0:2121", syscall.EACCES), syscall.EACCES,
			[]string{"frontend public: cannot listen on 0.0.0.0:2121: bind: permission denied"}},
		{"no such address", failed("public", "192.0.2.1:21", syscall.EADDRNOTAVAIL), syscall.EADDRNOTAVAIL,
			[]string{"this machine does not have the address; `ip address` lists those it has: change frontend.public.listen, or write freebind = true in [frontend.public] where the address comes later"}},
		{"no such address for data", &binds.PassiveError{Frontend: "public", Addr: netip.MustParseAddr("192.0.2.1"), Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}, syscall.EADDRNOTAVAIL,
			[]string{"frontend public: cannot listen on 192.0.2.1 for data connections: bind: cannot assign requested address: this machine does not have the address; `ip address` lists those it has: change frontend.public.passive_bind, or write freebind = true in [frontend.public] where the address comes later"}},
		{"IPv6 is off", failed("public", "[::]:21", syscall.EAFNOSUPPORT), syscall.EAFNOSUPPORT,
			[]string{"this machine has no IPv6; take the address out of frontend.public.listen"}},
		{"source port", &binds.SourceError{Frontend: "public", Port: 20, Err: os.NewSyscallError("bind", syscall.EACCES)}, syscall.EACCES,
			[]string{"frontend public: cannot connect from port 20: bind: permission denied: ports below 1024 need CAP_NET_BIND_SERVICE: `setcap "}},
		{"clients' addresses", &binds.SourceError{Backend: "legacy", Err: os.NewSyscallError("setsockopt", syscall.EPERM)}, syscall.EPERM,
			[]string{"backend legacy: cannot connect from clients' addresses: setsockopt: operation not permitted: this needs CAP_NET_RAW: `setcap cap_net_raw,cap_net_bind_service=+ep "}},
		{"source address", &binds.SourceError{Backend: "legacy", Addr: netip.MustParseAddr("10.0.0.1"), Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}, syscall.EADDRNOTAVAIL,
			[]string{"backend legacy: cannot connect from 10.0.0.1: bind: cannot assign requested address: this machine does not have the address; `ip address` lists those it has: change backend.legacy.source, or set net.ipv4.ip_nonlocal_bind = 1"}},
		{"source without IPv6", &binds.SourceError{Backend: "legacy", Addr: netip.MustParseAddr("fd00::1"), Err: os.NewSyscallError("socket", syscall.EAFNOSUPPORT)}, syscall.EAFNOSUPPORT,
			[]string{"backend legacy: cannot connect from fd00::1: socket: address family not supported by protocol: this machine has no IPv6; take the address out of backend.legacy.source"}},
		{"clients' addresses elsewhere", &binds.SourceError{Backend: "legacy", Err: errors.ErrUnsupported}, errors.ErrUnsupported,
			[]string{"backend legacy: connecting from the addresses of clients: unsupported operation"}},
		{"two", errors.Join(failed("b", "127.0.0.1:2121", syscall.EADDRINUSE), failed("a", "127.0.0.1:2121", syscall.EADDRINUSE)), syscall.EADDRINUSE,
			[]string{"frontend a: ", "frontend b: "}},
		{"another error", io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, []string{"unexpected EOF"}},
	}
	for _, tt := range tests {
		err := explain(&config.Config{}, tt.err)
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(tt.parts) || !errors.Is(err, tt.is) {
			t.Errorf("%s: %q; want %d lines, and is %v", tt.name, lines, len(tt.parts), tt.is)
			continue
		}
		for i, part := range tt.parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("%s: %q lacks %q", tt.name, lines[i], part)
			}
		}
	}
}

// The budget of descriptors has the connections that the admin address may have.
func TestDescriptorsOfTheAdminAddress(t *testing.T) {
	const plain = "[frontend.f]\nlisten = ':21'\nbackend = 'b'\n[backend.b]\nservers = '10.0.0.5'\n"
	var needed [2]int
	for i, text := range []string{plain, plain + "[admin]\nlisten = '127.0.0.1:9121'\n"} {
		conf, err := config.Parse("test.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		needed[i] = conf.Descriptors()
	}
	if more := needed[1] - needed[0]; more != 1+admin.MaxConns {
		t.Errorf("the budget has %d descriptors for it", more)
	}
}
