package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"ftproxy/config"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
	"ftproxy/rewrite"
)

// A process that runs out of descriptors is one of its own here, so that its
// limit is nobody else's.

// What the process is told, by the environment.
const (
	envDescriptors = "FTPROXY_TEST_DESCRIPTORS" // RLIMIT_NOFILE, and Options.Descriptors
	envServer      = "FTPROXY_TEST_SERVER"
	envPorts       = "FTPROXY_TEST_PORTS" // passive and inside
)

// TestDescriptorsProcess is the process: no test where nobody starts it as such.
// It says where it listens and obeys lines of its standard input.
func TestDescriptorsProcess(t *testing.T) {
	var limit uint64
	var told int
	if n, _ := fmt.Sscan(os.Getenv(envDescriptors), &limit, &told); n != 2 {
		t.Skip("the other tests of this file start it")
	}
	noGoroutineStays(t)
	rlimit := unix.Rlimit{Cur: limit, Max: limit}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &rlimit); err != nil {
		t.Fatal(err)
	}
	l, err := tcp.Network{}.ListenData(tcp.AnyPort(netip.MustParseAddr("127.0.0.1")))
	if err != nil { // The first data port's sign stays for as long as the process lives.
		t.Fatal(err)
	}
	_ = l.Close()
	openSockets(t) // The first look opens what the runtime needs for all files.
	before := openSockets(t)

	server := netip.MustParseAddrPort(os.Getenv(envServer))
	var ports [2]uint16
	if _, err := fmt.Sscan(os.Getenv(envPorts), &ports[0], &ports[1]); err != nil {
		t.Fatal(err)
	}
	c := config.Defaults()
	fe, be := config.NewFrontend("public"), config.NewBackend("inside")
	fe.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	fe.PassivePorts, fe.Backend = config.PortRange{First: ports[0], Last: ports[0]}, "inside"
	be.Servers = []config.Server{{Host: server.Addr().String(), Port: server.Port()}}
	be.DataPorts = config.PortRange{First: ports[1], Last: ports[1]}
	c.Frontends, c.Backends = []config.Frontend{fe}, []config.Backend{be}
	p := New(Options{Network: tcp.Network{}, Log: zerolog.New(os.Stderr), Metrics: metrics.New("test"), Descriptors: told})
	if err := p.Apply(&c); err != nil {
		t.Fatal(err)
	}
	for _, addr := range p.Addrs() {
		fmt.Println(addr)
	}

	var hoard []*os.File
	release := func() {
		for _, f := range hoard {
			_ = f.Close()
		}
		hoard = nil
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "hoard": // Take all that are left.
			for {
				f, err := os.Open(os.DevNull)
				if errors.Is(err, syscall.EMFILE) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				hoard = append(hoard, f)
			}
		case "release":
			release()
		case "settle": // Wait until the next client may be turned away.
			for deadline := time.Now().Add(socketTimeout); !p.listeners.HasSpare(); {
				if time.Now().After(deadline) {
					t.Fatal("no spare descriptor")
				}
			}
		}
		fmt.Println("done")
	}
	release()
	ctx, cancel := context.WithTimeout(t.Context(), socketTimeout)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if after := openSockets(t); !slices.Equal(after, before) {
		t.Errorf("sockets and devices that are open: %v, before: %v", after, before)
	}
}

// openSockets lists this process's sockets and device files.
func openSockets(t *testing.T) (open []string) {
	t.Helper()
	const dir = "/proc/self/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		to, err := os.Readlink(dir + e.Name())
		if err == nil && (strings.HasPrefix(to, "socket:") || to == os.DevNull) {
			open = append(open, e.Name()+" "+to)
		}
	}
	return open
}

// A small is such a process, between clients and a server that the test plays.
type small struct {
	t      *testing.T
	at     string
	dialed chan net.Conn // the server's, in the order in which they came
	input  io.Writer
	output *bufio.Reader
	logs   *lockedBuffer
}

// startSmall starts a process that may have limit descriptors, and believes that
// they are told many.
func startSmall(t *testing.T, limit, told int) *small {
	t.Helper()
	serverAt := listenLoopback(t)
	sm := &small{t: t, dialed: make(chan net.Conn, limit), logs: &lockedBuffer{}}
	go func() {
		for {
			conn, err := serverAt.Accept()
			if err != nil {
				return
			}
			sm.dialed <- conn
		}
	}()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDescriptorsProcess$")
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("%s=%d %d", envDescriptors, limit, told),
		envServer+"="+serverAt.Addr().String(),
		fmt.Sprintf("%s=%d %d", envPorts, freePort(t).First, freePort(t).First),
	)
	cmd.Stderr = sm.logs
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sm.input, sm.output = input, bufio.NewReader(output)
	t.Cleanup(func() {
		_ = input.Close() // It leaves service, after the peers.
		said, _ := io.ReadAll(sm.output)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process ends with %v\n%s", err, said)
		}
		if t.Failed() {
			t.Log(sm.logs)
		}
	})
	sm.at = sm.hear()
	return sm
}

func (sm *small) hear() string {
	sm.t.Helper()
	line, err := sm.output.ReadString('\n')
	if err != nil {
		sm.t.Fatalf("the process says %q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

// tell gives the process an order and waits until it was obeyed.
func (sm *small) tell(order string) {
	sm.t.Helper()
	if _, err := io.WriteString(sm.input, order+"\n"); err != nil {
		sm.t.Fatal(err)
	}
	if got := sm.hear(); got != "done" {
		sm.t.Fatalf("the process answers %q to %q", got, order)
	}
}

// connect is a new client.
func (sm *small) connect(name string) *actor {
	sm.t.Helper()
	return newActor(sm.t, name, dialLoopback(sm.t, sm.at))
}

// login plays the login of a client that has a session, or returns nil and the
// line that it was refused with.
func (sm *small) login(client *actor) (th *harness, refusal string) {
	sm.t.Helper()
	heard := make(chan string, 1)
	_ = client.conn.SetReadDeadline(time.Now().Add(socketTimeout))
	go func() {
		line, err := client.r.ReadString('\n')
		if err != nil {
			line = err.Error()
		}
		heard <- line
	}()
	select {
	case line := <-heard:
		return nil, line
	case conn := <-sm.dialed:
		th = &harness{t: sm.t, client: client, server: newActor(sm.t, "server of "+client.name, conn), logs: sm.logs}
	}
	th.server.say("220 ready")
	if line := <-heard; !strings.HasPrefix(line, "220 ") {
		sm.t.Fatalf("%s hears %q, want the greeting", client.name, line)
	}
	client.say("USER anna")
	th.server.hear("USER anna")
	th.server.say("230 in")
	client.hear("230")
	return th, ""
}

// admitted is the session of a client that has one.
func (sm *small) admitted(client *actor) *harness {
	sm.t.Helper()
	th, refusal := sm.login(client)
	if th == nil {
		sm.t.Fatalf("%s hears %q", client.name, refusal)
	}
	return th
}

// wantTurnedAway expects that new clients are told that there is no room, rather
// than nothing.
func (sm *small) wantTurnedAway() {
	sm.t.Helper()
	for i := range 5 {
		client := sm.connect("client " + strconv.Itoa(i) + " too many")
		client.hear("421 Too many connections")
		client.hearEnd()
	}
	if !strings.Contains(sm.logs.String(), `"limit":"descriptors"`) {
		sm.t.Error("the log does not say why")
	}
}

// wantRoom expects that new clients are served again when the sessions that are
// ending have ended.
func (sm *small) wantRoom() {
	sm.t.Helper()
	for deadline := time.Now().Add(socketTimeout); ; <-time.After(time.Millisecond) {
		client := sm.connect("client with room")
		th, refusal := sm.login(client)
		if th != nil {
			th.noop()
			th.leave()
			return
		}
		_ = client.conn.Close()
		if !strings.HasPrefix(refusal, "421 ") || time.Now().After(deadline) {
			sm.t.Fatalf("a new client hears %q", refusal)
		}
	}
}

// leave ends a session.
func (th *harness) leave() {
	th.t.Helper()
	_ = th.client.conn.Close()
	th.server.hearEnd()
	_ = th.server.conn.Close()
}

// noop is a command and its reply.
func (th *harness) noop() {
	th.t.Helper()
	th.client.say("NOOP")
	th.server.hear("NOOP")
	th.server.say("200 ok")
	th.client.hear("200 ok")
}

// moves sends some payload through a running download.
func moves(t *testing.T, server, client *net.TCPConn) {
	t.Helper()
	if _, err := server.Write(payload); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(payload))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != string(payload) {
		t.Fatalf("a running transfer: %v", err)
	}
}

// finish ends a download.
func (th *harness) finish(server, client *net.TCPConn) {
	th.t.Helper()
	_ = server.Close()
	wantData(th.t, th.client.name, client, nil)
	_ = client.Close()
	th.server.say("226 done")
	th.client.hear("226 done")
}

// New sessions are refused before the running ones lack descriptors for their
// transfers.
func TestFewDescriptorsAreKept(t *testing.T) {
	const limit = 64
	sm := startSmall(t, limit, limit)
	first := sm.admitted(sm.connect("first"))
	client, server := first.passive()
	first.begin("RETR f")
	moves(t, server, client)

	var sessions []*harness
	for {
		th, refusal := sm.login(sm.connect("client " + strconv.Itoa(len(sessions))))
		if th == nil {
			if !strings.HasPrefix(refusal, "421 Too many connections") {
				t.Errorf("the first that is refused hears %q", refusal)
			}
			break
		}
		if sessions = append(sessions, th); len(sessions) > limit {
			t.Fatalf("%d sessions with %d descriptors", len(sessions), limit)
		}
	}
	if len(sessions) < limit/4 {
		t.Errorf("only %d sessions with %d descriptors", len(sessions), limit)
	}
	sm.wantTurnedAway()

	moves(t, server, client)
	first.finish(server, client)
	last := sessions[len(sessions)-1]
	client, server = last.passive()
	last.begin("RETR f")
	moves(t, server, client)
	last.finish(server, client)
	for _, th := range sessions {
		th.noop()
	}

	for _, th := range sessions[:4] {
		th.leave()
	}
	sm.wantRoom()
}

// At the very end of the descriptors a new client hears that, and what runs goes
// on: transfers move and commands are answered.
func TestNoDescriptorsLeft(t *testing.T) {
	const limit, plenty = 64, 4096 // So nobody is refused before the end.
	sm := startSmall(t, limit, plenty)
	running := sm.admitted(sm.connect("running"))
	client, server := running.passive()
	running.begin("RETR f")
	moves(t, server, client)
	idle := sm.admitted(sm.connect("idle"))

	sm.tell("hoard")
	for range 2 {
		sm.wantTurnedAway()
		moves(t, server, client)
		idle.noop()
	}
	sm.tell("release")
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; { // Now and later.
		sm.wantRoom()
	}
	running.finish(server, client)
	client, server = idle.passive()
	idle.begin("RETR f")
	moves(t, server, client)
	idle.finish(server, client)
}

// A client that has connected to its data port while no descriptor was left is
// accepted when there is one.
func TestDataConnectionAwaitsDescriptor(t *testing.T) {
	sm := startSmall(t, 64, 4096)
	th := sm.admitted(sm.connect("client"))
	client, server := th.agreedOnly()
	sm.tell("hoard")
	data := dialLoopback(t, client.String())
	th.await(`"message":"accept failed"`)
	sm.tell("release")
	th.begin("RETR f")
	moves(t, server, data)
	th.finish(server, data)
}

// agreedOnly agrees on a passive data connection and leaves it to the test to
// connect to the address.
func (th *harness) agreedOnly() (at netip.AddrPort, server *net.TCPConn) {
	th.t.Helper()
	l := listenLoopback(th.t)
	th.client.say("PASV")
	th.server.hear("PASV")
	th.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
	at, err := rewrite.ParsePASV(th.client.hear("227"))
	if err != nil {
		th.t.Fatal(err)
	}
	return at, acceptOne(th.t, l)
}

// Where the number of descriptors is not known there is no spare one either:
// clients wait in the backlog and are served when there is a descriptor.
func TestUnknownDescriptors(t *testing.T) {
	sm := startSmall(t, 64, 0)
	running := sm.admitted(sm.connect("running"))
	sm.tell("hoard")
	waiting := sm.connect("waiting")
	running.await(`"message":"no file descriptor is free"`)
	running.noop()
	sm.tell("release")
	sm.admitted(waiting).noop()
}
