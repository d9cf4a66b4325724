//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

const (
	reloads     = 300
	busyClients = 50
)

// Whatever configurations follow each other, valid or not, no session is lost, no
// client refused, and nothing is left in the end (H81).
func TestReloadsLoseNothing(t *testing.T) {
	server, err := startDemoServer()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	base, taken := portBlock(t)
	dir := must(os.MkdirTemp("", "ftproxy")) // A socket's path must be short.
	defer os.RemoveAll(dir)

	// What the process opens once and keeps is there before anything is counted.
	must(tcp.Network{}.ListenData(tcp.Local{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")})).Close()
	others := goleak.IgnoreCurrent()
	sockets := openSockets(t)
	g := &configurations{
		random: rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano()))),
		base:   base, port: fmt.Sprint(base + 10), dir: dir, server: server.Addr(), taken: taken,
	}
	file := filepath.Join(dir, "config.toml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(g.valid())
	conf, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var logs syncBuffer
	log, target := newLogger(conf.Log, &logs)
	s := newService(log)
	s.file, s.target, s.warnings = file, target, (&program{sysctl: "/proc/sys"}).warnings
	if err := s.start(conf); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	running, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal)
	go func() {
		cut, err := s.untilStopped(running, signals)
		if cut {
			err = errors.Join(err, errors.New("something was cut"))
		}
		ended <- err
	}()

	var (
		clients  sync.WaitGroup
		finished atomic.Bool
		sessions atomic.Int64
		faults   = make(chan error, busyClients)
	)
	for i := range busyClients {
		at := netip.MustParseAddrPort(fmt.Sprintf("127.0.0.%d:%s", 1+i%2, g.port))
		random := rand.New(rand.NewPCG(2, uint64(i)))
		clients.Go(func() {
			for !finished.Load() {
				if err := busySession(at, fmt.Sprint(i), random, 1+random.IntN(4)); err != nil {
					faults <- fmt.Errorf("client %d: %w", i, err)
					return
				}
				sessions.Add(1)
			}
		})
	}

	refused := 0
	for i := range reloads {
		text, valid := g.valid(), true
		if g.random.IntN(3) == 0 {
			text, valid = g.invalid(text), false
			refused++
		}
		write(text)
		before := s.conf.Load()
		_, err := s.reload("test")
		if (err == nil) != valid {
			t.Fatalf("reload %d: %v\n%s", i, err, text)
		}
		if !valid && s.conf.Load() != before {
			t.Fatalf("reload %d was refused (%v) and changed the configuration", i, err)
		}
		// Each configuration has sessions that begin with it.
		last := sessions.Load()
		waitFor(t, "sessions", func() bool { return sessions.Load() > last+2 || len(faults) > 0 })
		if len(faults) > 0 {
			break
		}
	}
	finished.Store(true)
	clients.Wait()
	close(faults)
	for err := range faults {
		t.Error(err)
	}
	if n := sessions.Load(); n < busyClients {
		t.Errorf("only %d sessions in all", n)
	}
	t.Logf("%d reloads, %d of them refused; %d sessions", reloads, refused, sessions.Load())
	waitFor(t, "ports and sessions to be given back", func() bool {
		st := s.process.Status()
		return st.Sessions == 0 && st.Transfers == 0 && len(st.Ports) == 0
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	waitFor(t, "goroutines to end", func() bool { return goleak.Find(others) == nil })
	waitFor(t, "sockets to be closed", func() bool { return openSockets(t) <= sockets })
	if t.Failed() {
		text := logs.String()
		t.Log(text[max(0, len(text)-20_000):])
	}
}

// portBlock is the first of a thousand ports that no other run of these tests takes,
// because the first one is taken by a listener at the address that it returns. They
// lie below those that the kernel gives to outgoing connections, and below those that
// tests of other packages look for.
func portBlock(t *testing.T) (base int, taken string) {
	t.Helper()
	for base = 10_000; base < 20_000; base += 1000 {
		at := fmt.Sprintf("127.0.0.1:%d", base)
		if l, err := net.Listen("tcp", at); err == nil {
			t.Cleanup(func() { l.Close() })
			return base, at
		}
	}
	t.Fatal("no free block of ports")
	return 0, ""
}

// openSockets counts the sockets of this process. Pipes are kept for the next
// transfer.
func openSockets(t *testing.T) (n int) {
	t.Helper()
	for _, fd := range must(os.ReadDir("/proc/self/fd")) {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// configurations are made at random. All of them serve port at 127.0.0.1 and
// 127.0.0.2.
type configurations struct {
	random *rand.Rand
	base   int // its thousand ports are used below
	port   string
	dir    string
	server netip.AddrPort
	taken  string // an address and port that another program has
}

// ports is a range of the block.
func (g *configurations) ports(first, last int) string {
	return fmt.Sprintf("%d-%d", g.base+first, g.base+last)
}

func (g *configurations) one(of ...string) string { return of[g.random.IntN(len(of))] }

func (g *configurations) valid() string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	maybe := func(format string, a ...any) {
		if g.random.IntN(2) == 0 {
			line(format, a...)
		}
	}
	line("[log]")
	maybe("level = %q", g.one("debug", "info", "warn"))
	maybe("format = %q", g.one("json", "console"))
	line("[admin]")
	maybe(`listen = "127.0.0.1:%s"`, g.one(fmt.Sprint(g.base+871), fmt.Sprint(g.base+872)))
	line("[control]")
	maybe("socket = %q", filepath.Join(g.dir, g.one("a", "b")))
	line("[timeouts]")
	for _, key := range []string{"connect", "port_wait", "data_connect"} { // Their defaults are short for a busy machine.
		line("%s = %q", key, g.one("2m", "3m", "5m"))
	}
	for _, key := range []string{"greeting", "login", "idle", "reply", "final_reply", "data_stall", "client_write", "linger"} {
		maybe("%s = %q", key, g.one("2m", "3m", "5m"))
	}
	line("[limits]")
	line("sessions = %d", 200+g.random.IntN(100))
	maybe("sessions_per_client = %d", 200+g.random.IntN(100))
	maybe("transfers = %d", 200+g.random.IntN(100))

	// The one that clients use, at two addresses or at all of the machine.
	line("[frontend.main]")
	listens := []string{
		fmt.Sprintf(`["127.0.0.1:%s", "127.0.0.2:%s"]`, g.port, g.port),
		fmt.Sprintf(`["0.0.0.0:%s"]`, g.port),
		fmt.Sprintf(`["127.0.0.1:%s", "127.0.0.2:%s", "127.0.0.3:%s"]`, g.port, g.port, g.port),
	}
	line("listen = %s", g.one(listens...))
	bind := g.one("", "0.0.0.0")
	g.frontend(line, maybe, bind)
	for i := range g.random.IntN(4) {
		line("[frontend.other%d]", i)
		line(`listen = "127.0.1.%d:%d"`, 1+i, g.base+800+g.random.IntN(3))
		g.frontend(line, maybe, bind)
	}
	inside := g.one(g.ports(100, 199), g.ports(150, 249), g.ports(200, 299))
	for _, name := range []string{"a", "b"} {
		line("[backend.%s]", name)
		line("servers = %q", g.server)
		maybe("data = %q", g.one("client", "passive", "pasv", "epsv", "active", "port", "eprt"))
		line("data_ports = %q", inside)
		maybe("bandwidth = %q", g.one("500MB/s", "800MB/s"))
	}
	return b.String()
}

func (g *configurations) frontend(line, maybe func(format string, a ...any), bind string) {
	line("passive_bind = %q", bind)
	line("backend = %q", g.one("a", "b"))
	maybe("banner = %q", g.one("hello", "welcome"))
	maybe("public_address = %q", "auto")
	// Never the default, which another program may have.
	line("passive_ports = %q", g.one(g.ports(400, 499), g.ports(500, 503), g.ports(600, 601), g.ports(700, 799)))
	maybe("data_peer = %q", g.one("exact", "/24"))
	maybe("bandwidth = %q", g.one("500MB/s", "800MB/s"))
	maybe("session_bandwidth = %q", g.one("100MB/s", "200MB/s"))
	maybe(`allow_foreign_data = ["127.0.0.0/8"]`)
}

// invalid makes a configuration one that must be refused: by its text, or by
// what the machine lets it have.
func (g *configurations) invalid(text string) string {
	switch g.random.IntN(8) {
	case 0:
		return text + "nonsense = 1\n"
	case 1:
		return text + fmt.Sprintf("[frontend.more]\nlisten = \"127.0.2.1:%d\"\nbackend = \"nobody\"\n", g.base+900)
	case 2:
		return text + fmt.Sprintf("[frontend.more]\nlisten = [\"127.0.2.1:%d\", %q]\nbackend = \"a\"\n", g.base+900, g.taken)
	case 3:
		return text + "[frontend"
	case 4:
		return strings.Replace(text, "[admin]\n", fmt.Sprintf("[admin]\nlisten = %q\n[other]\n", g.taken), 1)
	case 5:
		return strings.Replace(text, "sessions = ", "sessions = 2000000", 1)
	case 6:
		return text[:strings.Index(text, "[control]")] + "[control]\nsocket = \"/nonexistent/ftproxy/control\"\n" +
			text[strings.Index(text, "[timeouts]"):]
	}
	return ""
}
