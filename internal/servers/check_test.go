package servers

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/balance"
	"ftproxy/internal/ftps"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
)

// A network is the machine's, with a resolver of its own.
type network struct {
	tcp.Network
	mu    sync.Mutex
	names map[string][]netip.Addr
}

func (n *network) Resolve(_ context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if all := n.names[host]; all != nil {
		return slices.Clone(all), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// A script answers commands by their verbs; "" is the greeting. A verb without an answer
// is met with silence.
type script map[string]string

// serve answers connections until the test ends, and tells what was heard.
func serve(t *testing.T, s script) (at netip.AddrPort, heard func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var all strings.Builder
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprint(conn, s[""])
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					verb, _, _ := strings.Cut(lines.Text(), " ")
					mu.Lock()
					fmt.Fprintln(&all, lines.Text())
					mu.Unlock()
					fmt.Fprint(conn, s[verb])
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

func newSet(n *network) *Set {
	s := new(Set)
	s.Init(Options{Network: n, Metrics: metrics.New("test"), Log: logline.Log{}, Own: func(netip.AddrPort) bool { return false }})
	return s
}

// What each kind of check takes for a server that works.
func TestChecks(t *testing.T) {
	ready := script{"": "220 ready\r\n", "FEAT": "211-Features:\r\n SIZE\r\n UTF8\r\n211 End\r\n", "USER": "331 Password?\r\n", "PASS": "230 in\r\n", "QUIT": "221 bye\r\n"}
	with := func(verb, answer string) script {
		s := make(script)
		for k, v := range ready {
			s[k] = v
		}
		s[verb] = answer
		return s
	}
	for _, tt := range []struct {
		name   string
		kind   config.CheckKind
		script script
		want   string // part of the error; "": it works
		text   string
		heard  string
	}{
		{"tcp", config.CheckTCP, script{}, "", "connected", ""},
		{"ftp", config.CheckFTP, ready, "", "220 ready", "FEAT\nQUIT\n"},
		{"ftp, refusing", config.CheckFTP, with("", "421 Full.\r\n"), "421 Full.", "", ""},
		{"ftp, silent", config.CheckFTP, script{}, "timeout", "", ""},
		{"ftp, another protocol", config.CheckFTP, with("", "SSH-2.0-x\r\n"), "not an FTP reply", "", ""},
		{"login", config.CheckLogin, ready, "", "230 logged in", "USER probe\nPASS hunter2\nFEAT\nQUIT\n"},
		{"login without a password", config.CheckLogin, with("USER", "230 in\r\n"), "", "230 logged in", "USER probe\nFEAT\nQUIT\n"},
		{"login, refused", config.CheckLogin, with("PASS", "530 No.\r\n"), "530 No.", "", ""},
		{"login, refused with the password", config.CheckLogin, with("PASS", "530 'PASS hunter2' is wrong\r\n"), "refuses the login: 530", "", ""},
		{"login, silent", config.CheckLogin, with("PASS", ""), "PASS: no reply", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at, heard := serve(t, tt.script)
			f := new(features)
			target := balance.Target{Name: "one", Host: "127.0.0.1", Addr: at}
			f.keep([]balance.Target{target})
			c := newChecker(newSet(new(network)), Spec{Backend: config.Backend{Check: config.Check{Kind: tt.kind, User: "probe", Timeout: time.Second}}, Password: []byte("hunter2")})
			c.features = f
			text, took, err := c.check(t.Context(), target)
			switch {
			case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("%v; want %q", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Fatalf("the error has the password: %v", err)
			case text != tt.text || took <= 0:
				t.Errorf("%q after %v; want %q", text, took, tt.text)
			}
			if got := heard(); tt.want == "" && got != tt.heard {
				t.Errorf("the server heard %q; want %q", got, tt.heard)
			}
			if want := []string{"SIZE", "UTF8"}; strings.Contains(tt.heard, "FEAT") && !slices.Equal(f.common(), want) {
				t.Errorf("features %q; want %q", f.common(), want)
			}
		})
	}
}

// Features count if every server has them, and was asked.
func TestCommonFeatures(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.5:21"), netip.MustParseAddrPort("10.0.0.6:21")
	f := new(features)
	f.keep([]balance.Target{{Addr: a}, {Addr: b}})
	note := func(at netip.AddrPort, lines ...string) {
		f.note(at, reply(211, append(append([]string{"211-x"}, lines...), "211 End")...))
	}
	want := func(want ...string) {
		t.Helper()
		if got := f.common(); !slices.Equal(got, want) {
			t.Errorf("%q; want %q", got, want)
		}
	}
	want()
	note(a, " SIZE", " MDTM", " REST STREAM")
	want() // b was not asked.
	note(b, "211-REST STREAM", " SIZE")
	want("SIZE", "REST STREAM")
	f.note(b, reply(530, "530 Log in."))
	want()
	f.keep([]balance.Target{{Addr: a}})
	want("SIZE", "MDTM", "REST STREAM")
	note(b, " X") // It is no server any more.
	want("SIZE", "MDTM", "REST STREAM")
}

// The password's file holds a password, and is not for everybody.
func TestReadPassword(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string
		err        error
	}{
		{"a line", "hunter2\n", 0o600, "hunter2", nil},
		{"no line end", "hunter2", 0o640, "hunter2", nil},
		{"from Windows", "hunter 2\r\n", 0o600, "hunter 2", nil},
		{"empty", "\n", 0o600, "", errNoPassword},
		{"two lines", "hunter2\nhunter3\n", 0o600, "", errLines},
		{"long", strings.Repeat("x", maxPassword+1), 0o600, "", errLong},
		{"control character", "hunter\x002", 0o600, "", errControlByte},
		{"for everybody", "hunter2\n", 0o644, "", errExposed},
	} {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadPassword(path)
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if err != nil && (!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := ReadPassword(t.TempDir()); !errors.Is(err, errNotAFile) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := ReadPassword("/nonexistent/password"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// An agent's line ends at its end, or with the connection.
func TestAgent(t *testing.T) {
	for text, want := range map[string]string{"75% # busy\nmore\n": "75% # busy\n", "drain": "drain", "": ""} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err == nil {
				fmt.Fprint(conn, text)
				conn.Close()
			}
		}()
		port := l.Addr().(*net.TCPAddr).Port
		c := newChecker(newSet(new(network)), Spec{Backend: config.Backend{Check: config.Check{AgentPort: port, Timeout: time.Second}}})
		got, err := c.agent(t.Context(), balance.Target{Addr: netip.MustParseAddrPort("127.0.0.1:1")})
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		l.Close()
	}
}

// Checks use TLS where the backend does, and begin with a PROXY header where it sends one.
func TestChecksOverTLS(t *testing.T) {
	certificate := ftptest.Certificate(t, "127.0.0.1")
	for _, mode := range []config.TLSMode{config.TLSExplicit, config.TLSImplicit} {
		for _, header := range []string{"", "v1", "v2"} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			began := make(chan string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				n := map[string]int{"v1": len("PROXY UNKNOWN\r\n"), "v2": 16}[header]
				first := make([]byte, n)
				_, _ = io.ReadFull(conn, first)
				began <- string(first)
				secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate.Certificate}})
				if mode == config.TLSExplicit {
					fmt.Fprint(conn, "220 ready\r\n")
					_, _ = io.ReadFull(conn, make([]byte, len("AUTH TLS\r\n")))
					fmt.Fprint(conn, "234 go\r\n")
				} else {
					fmt.Fprint(secured, "220 ready\r\n")
				}
				for lines := bufio.NewScanner(secured); lines.Scan(); {
					fmt.Fprint(secured, "200 ok\r\n")
				}
			}()
			b := config.Backend{Name: "b", SendProxy: header, Check: config.Check{Kind: config.CheckFTP, Timeout: 5 * time.Second},
				TLS: config.BackendTLS{Mode: mode, CA: certificate.File, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}}
			protection, err := ftps.NewBackend(&b)
			if err != nil {
				t.Fatal(err)
			}
			c := newChecker(newSet(new(network)), Spec{Backend: b, TLS: protection})
			c.features = new(features)
			text, _, err := c.check(t.Context(), balance.Target{Host: "127.0.0.1", Addr: l.Addr().(*net.TCPAddr).AddrPort()})
			if err != nil || text != "220 ready" {
				t.Errorf("%s, header %q: %q, %v", mode, header, text, err)
			}
			want := map[string]string{"": "", "v1": "PROXY UNKNOWN\r\n", "v2": "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"}[header]
			if got := <-began; got != want {
				t.Errorf("%s, header %q: it begins with %q", mode, header, got)
			}
		}
	}
}
