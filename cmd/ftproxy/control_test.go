package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/internal/admin"
)

// A fakeService is asked by the control socket and does what a test says.
type fakeService struct {
	reload func(context.Context) (admin.Reloaded, error)
	drain  func(context.Context) (admin.Drained, error)
	status func() admin.Status
}

func (s *fakeService) Reload(ctx context.Context) (admin.Reloaded, error) { return s.reload(ctx) }
func (s *fakeService) Drain(ctx context.Context) (admin.Drained, error)   { return s.drain(ctx) }
func (s *fakeService) Status() admin.Status                               { return s.status() }
func (s *fakeService) SetServer(backend, server, state string) (admin.ServerSet, error) {
	return admin.ServerSet{Servers: []admin.ServerStatus{{Backend: backend, Server: server, Address: server, State: state}}}, nil
}

// A controlled is a fake service at a socket, with a configuration that names it.
type controlled struct {
	config, socket string
}

func control(t *testing.T, s *fakeService) controlled {
	t.Helper()
	directory, err := os.MkdirTemp("", "ftp") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	socket := filepath.Join(directory, "control.sock")
	server, err := admin.ListenControl(socket, s, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(context.Background()) })
	return controlled{configFile(t, "127.0.0.1:0", "[control]", fmt.Sprintf("socket = %q", socket)), socket}
}

// runs runs a command to its end and wants what it prints and its exit code.
func runs(t *testing.T, code int, stdout, stderr string, args ...string) {
	t.Helper()
	r := runInBackground(t, args...)
	if got := r.exit(); got != code {
		t.Errorf("ftproxy %s: exit code %d, want %d", strings.Join(args, " "), got, code)
	}
	if got := r.stdout.String(); got != stdout {
		t.Errorf("ftproxy %s: standard output\n%swant\n%s", strings.Join(args, " "), got, stdout)
	}
	if got := r.stderr.String(); got != stderr {
		t.Errorf("ftproxy %s: standard error\n%swant\n%s", strings.Join(args, " "), got, stderr)
	}
}

func TestReloadCommand(t *testing.T) {
	var reloaded admin.Reloaded
	var refused error
	asked := 0
	c := control(t, &fakeService{reload: func(context.Context) (admin.Reloaded, error) {
		asked++
		return reloaded, refused
	}})
	const stays = "ftproxy: not reloaded, the running configuration stays in force\n"

	runs(t, 0, "reloaded: no setting has changed; certificates were read again\n", "", "reload", "-config", c.config)
	reloaded = admin.Reloaded{Changes: []string{"limits.sessions: 10, was 20"}, Warnings: []string{"config.toml:3: too much"}}
	runs(t, 0, "reloaded: 1 change\n  limits.sessions: 10, was 20\n", "warning: config.toml:3: too much\n", "reload", "-config", c.config)
	runs(t, 0, "reloaded: 1 change\n  limits.sessions: 10, was 20\n", "warning: config.toml:3: too much\n", "reload", "-socket", c.socket)

	// What the service refuses is told as it tells it.
	refused = errors.New("frontend a: cannot listen\nfrontend b: cannot listen")
	runs(t, 1, "", "frontend a: cannot listen\nfrontend b: cannot listen\n"+stays, "reload", "-config", c.config)

	// A faulty file does not get as far as the service, also where -socket says where that is.
	asked = 0
	faulty := filepath.Join(t.TempDir(), "faulty.toml")
	if err := os.WriteFile(faulty, []byte("[frontend]\n[backnd]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := runInBackground(t, "check", "-config", faulty)
	if check.exit() != 1 || !strings.Contains(check.stderr.String(), "faulty.toml:2: ") {
		t.Fatalf("check: %s", check.stderr)
	}
	runs(t, 1, "", check.stderr.String()+stays, "reload", "-config", faulty)
	runs(t, 1, "", check.stderr.String()+stays, "reload", "-config", faulty, "-socket", c.socket)
	if asked != 0 {
		t.Errorf("the service was asked %d times to load a faulty file", asked)
	}
}

func TestDrainCommand(t *testing.T) {
	var drained admin.Drained
	service := &fakeService{drain: func(context.Context) (admin.Drained, error) { return drained, nil }}
	runs(t, 0, "left service; nothing was cut\n", "", "drain", "-config", control(t, service).config)
	drained.Cut = true
	runs(t, 3, "", "ftproxy: left service; what still ran at the end was cut\n", "drain", "-socket", control(t, service).socket)
}

// Ctrl-C ends the waiting.
func TestDrainCommandInterrupted(t *testing.T) {
	draining := make(chan struct{})
	c := control(t, &fakeService{drain: func(ctx context.Context) (admin.Drained, error) {
		close(draining)
		<-ctx.Done()
		return admin.Drained{}, context.Cause(ctx)
	}})
	r := runInBackground(t, "drain", "-config", c.config)
	<-draining
	r.signals <- syscall.SIGINT
	if code := r.exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	const want = "ftproxy: interrupt: nobody waits any more; ftproxy leaves service all the same\n"
	if got := r.stderr.String(); got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
}

// While it waits the command tells what has changed, and only that.
func TestDrainCommandTells(t *testing.T) {
	draining, left := make(chan struct{}), make(chan struct{})
	statuses := make(chan admin.Status, 1)
	c := control(t, &fakeService{
		drain: func(context.Context) (admin.Drained, error) {
			close(draining)
			<-left
			return admin.Drained{}, nil
		},
		status: func() admin.Status { return <-statuses },
	})
	r := &running{t: t, stderr: newScreen(), ended: make(chan struct{})}
	p := &program{stderr: r.stderr}
	ticks := make(chan time.Time)
	go func() {
		defer close(r.ended)
		if _, err := p.waitForDrain(t.Context(), admin.DialControl(c.socket), ticks); err != nil {
			t.Error(err)
		}
	}()
	<-draining
	tick := func(sessions, transfers int) {
		statuses <- admin.Status{State: admin.Draining, Sessions: sessions, Transfers: transfers}
		ticks <- time.Time{}
	}
	tick(2, 1)
	tick(2, 1)
	tick(1, 0)
	r.waitFor(r.stderr, "1 session,")
	close(left)
	<-r.ended
	const want = "ftproxy: draining: 2 sessions, 1 transfer\nftproxy: draining: 1 session, 0 transfers\n"
	if got := r.stderr.String(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestStatusCommand(t *testing.T) {
	st := admin.Status{Version: "v1.2.3", State: admin.Serving, PID: 4711, Started: time.Now()}
	c := control(t, &fakeService{status: func() admin.Status { return st }})
	r := runInBackground(t, "status", "-config", c.config)
	if code := r.exit(); code != 0 || !strings.HasPrefix(r.stdout.String(), "version        v1.2.3\nstate          serving\nprocess        4711, for ") {
		t.Errorf("exit code %d\n%s", code, r.stdout)
	}
	r = runInBackground(t, "status", "-socket", c.socket, "-json")
	var got struct{ Version, State string }
	if code := r.exit(); code != 0 || json.Unmarshal([]byte(r.stdout.String()), &got) != nil || got.Version != "v1.2.3" || got.State != "serving" {
		t.Errorf("exit code %d\n%s", code, r.stdout)
	}
	if text := r.stdout.String(); !strings.HasPrefix(text, "{\n") || !strings.HasSuffix(text, "\n}\n") {
		t.Errorf("the JSON is not as it came:\n%s", text)
	}
}

// Without a way to the service each command says what to do.
func TestControlCommandsWithoutService(t *testing.T) {
	without := configFile(t, "127.0.0.1:0")
	for command, instead := range map[string]string{"reload": "SIGHUP reloads, too\n", "drain": "SIGTERM drains, too\n", "status": "the metrics tell, too\n"} {
		r := runInBackground(t, command, "-config", without)
		if code, text := r.exit(), r.stderr.String(); code != 1 || !strings.Contains(text, without+" has no control.socket: write\n") ||
			!strings.Contains(text, "\n  [control]\n  socket = \"/run/ftproxy/control.sock\"\n") || !strings.Contains(text, instead) {
			t.Errorf("%s: exit code %d\n%s", command, code, text)
		}

		socket := filepath.Join(t.TempDir(), "none")
		r = runInBackground(t, command, "-socket", socket)
		if code, text := r.exit(), r.stderr.String(); code != 1 ||
			!strings.HasPrefix(text, "ftproxy: cannot reach the service at "+socket+": there is no such socket: is ftproxy running") {
			t.Errorf("%s: exit code %d\n%s", command, code, text)
		}

		if code := runInBackground(t, command, "-unknown").exit(); code != 2 {
			t.Errorf("%s -unknown: exit code %d", command, code)
		}
	}

	// Whoever changes control.socket finds the service at the old one.
	moved := configFile(t, "127.0.0.1:0", "[control]", `socket = "/nonexistent/control.sock"`)
	r := runInBackground(t, "reload", "-config", moved)
	if code, text := r.exit(), r.stderr.String(); code != 1 || !strings.Contains(text, "name the one before with -socket\n") {
		t.Errorf("moved: exit code %d\n%s", code, text)
	}
}

// A service that ends in the middle has not said how.
func TestDrainCommandUnanswered(t *testing.T) {
	directory, err := os.MkdirTemp("", "ftp")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(directory)
	socket := filepath.Join(directory, "control.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if conn, err := l.Accept(); err == nil {
			_, _ = conn.Read(make([]byte, 4096))
			conn.Close()
		}
	}()
	runs(t, 1, "", "ftproxy: the service ended without saying how\n", "drain", "-socket", socket)
	l.Close()
	<-ended
}
