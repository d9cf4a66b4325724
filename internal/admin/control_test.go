package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// A fakeService does what a test says.
type fakeService struct {
	reload func(context.Context) (Reloaded, error)
	drain  func(context.Context) (Drained, error)
	status Status
	set    func(backend, server, state string) (ServerSet, error)
}

func (s *fakeService) Reload(ctx context.Context) (Reloaded, error) { return s.reload(ctx) }
func (s *fakeService) Drain(ctx context.Context) (Drained, error)   { return s.drain(ctx) }
func (s *fakeService) Status() Status                               { return s.status }
func (s *fakeService) SetServer(backend, server, state string) (ServerSet, error) {
	return s.set(backend, server, state)
}

// socketDirectory has a path that is short enough for a socket, whatever the
// test is called.
func socketDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "ftp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	return directory
}

func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(socketDirectory(t), "control.sock")
}

// listenControl serves at path until the test ends.
func listenControl(t *testing.T, path string, a Actions) *ControlServer {
	t.Helper()
	s, err := ListenControl(path, a, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request as it is written, and returns the answer's status and body.
func ask(t *testing.T, path, request string) (int, string) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	method, rest, _ := strings.Cut(request, " ")
	where, body, _ := strings.Cut(rest, " ")
	q, err := http.NewRequestWithContext(t.Context(), method, "http://x"+where, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	a, err := transport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

var someStatus = Status{
	Version: "v1.2.3", State: Serving, PID: 4711,
	Started: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC),
	Config:  "/etc/ftproxy/config.toml", ConfiguredAt: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC),
	LastReload: &ReloadStatus{At: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Error: "config.toml:3: x\nconfig.toml:4: y"},
	Sessions:   7, SessionsLimit: 2500, SessionsTotal: 12345, Transfers: 3,
	Frontends:   []FrontendStatus{{Name: "public", Backend: "legacy", Listen: []string{"0.0.0.0:21"}, Sessions: 7}},
	Servers:     []ServerStatus{{Backend: "legacy", Server: "10.0.0.5:21", Address: "10.0.0.5:21", State: "up", Sessions: 7, Weight: 1}},
	Ranges:      []RangeStatus{{Address: "192.0.2.1", Ports: "30000-30099", Size: 100, Pending: 1, Held: 2, Waiting: 3}},
	Descriptors: DescriptorStatus{Used: 40, Limit: 1024},
}

// What the service says comes to the client as it is.
func TestControl(t *testing.T) {
	path := socketPath(t)
	s := listenControl(t, path, &fakeService{
		reload: func(context.Context) (Reloaded, error) {
			return Reloaded{Changes: []string{"limits.sessions: 10, was 20"}, Warnings: []string{"w"}}, nil
		},
		drain:  func(context.Context) (Drained, error) { return Drained{Cut: true}, nil },
		status: someStatus,
		set: func(backend, server, state string) (ServerSet, error) {
			if backend != "legacy" || server != "[2001:db8::5]:21" || state != "drain" {
				return ServerSet{}, errors.New("there is no such server")
			}
			return ServerSet{someStatus.Servers}, nil
		},
	})
	if s.Path() != path {
		t.Errorf("Path() = %q", s.Path())
	}
	c := DialControl(path)
	if got, err := c.Reload(t.Context()); err != nil || !reflect.DeepEqual(got, Reloaded{[]string{"limits.sessions: 10, was 20"}, []string{"w"}}) {
		t.Errorf("Reload = %+v, %v", got, err)
	}
	if got, err := c.Status(t.Context()); err != nil || !reflect.DeepEqual(got, someStatus) {
		t.Errorf("Status = %+v, %v", got, err)
	}
	if got, err := c.SetServer(t.Context(), "legacy", "[2001:db8::5]:21", "drain"); err != nil || !reflect.DeepEqual(got.Servers, someStatus.Servers) {
		t.Errorf("SetServer = %+v, %v", got, err)
	}
	var refusal *Refusal
	if _, err := c.SetServer(t.Context(), "legacy", "&state=drain", "drain"); !errors.As(err, &refusal) || refusal.Text != "there is no such server" {
		t.Errorf("SetServer of none: %v", err)
	}
	if got, err := c.Drain(t.Context()); err != nil || !got.Cut {
		t.Errorf("Drain = %+v, %v", got, err)
	}
}

// Who hears that the service has left can start another one at once.
func TestControlDrainedLeavesPath(t *testing.T) {
	path := socketPath(t)
	listenControl(t, path, &fakeService{drain: func(context.Context) (Drained, error) { return Drained{}, nil }})
	if _, err := DialControl(path).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket: %v", err)
	}
	if _, err := DialControl(path).Status(t.Context()); !errors.Is(err, ErrNotReachable) {
		t.Errorf("Status: %v", err)
	}
	listenControl(t, path, &fakeService{status: someStatus})
}

// The names of the keys are what programs rely on; a list is never null.
func TestControlJSON(t *testing.T) {
	service := &fakeService{
		reload: func(context.Context) (Reloaded, error) { return Reloaded{}, nil },
		drain:  func(context.Context) (Drained, error) { return Drained{}, nil },
		status: Status{State: Draining, Frontends: []FrontendStatus{{Name: "public"}}, LastReload: someStatus.LastReload},
	}
	path := socketPath(t)
	listenControl(t, path, service)
	tests := []struct{ request, want string }{
		{"POST /v1/reload", `{"changes": []}`},
		{"GET /v1/status", `{"version": "", "state": "draining", "pid": 0, "started": "0001-01-01T00:00:00Z", "config": "", ` +
			`"configured_at": "0001-01-01T00:00:00Z", ` +
			`"last_reload": {"at": "2026-11-22T10:00:00Z", "ok": false, "error": "config.toml:3: x\nconfig.toml:4: y"}, ` +
			`"sessions": 0, "sessions_older": 0, "sessions_limit": 0, "sessions_total": 0, "transfers": 0, ` +
			`"frontends": [{"name": "public", "backend": "", "listen": [], "sessions": 0}], ` +
			`"servers": [], "port_ranges": [], "descriptors": {"used": 0, "limit": 0}}`},
		{"POST /v1/drain", `{"cut": false}`}, // the last: nobody answers after it
	}
	raw, err := DialControl(path).StatusJSON(t.Context())
	if got := oneLine(string(raw)); err != nil || got != tests[1].want {
		t.Errorf("StatusJSON: %v\n%s", err, got)
	}
	for _, tt := range tests {
		status, text := ask(t, path, tt.request)
		if got := oneLine(text); status != 200 || got != tt.want {
			t.Errorf("%s: %d %s\nwant %s", tt.request, status, got, tt.want)
		}
	}
}

// oneLine takes the indentation out of JSON.
func oneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	text = strings.Join(lines, " ")
	return strings.NewReplacer("{ ", "{", " }", "}", "[ ", "[", " ]", "]").Replace(text)
}

// A refusal comes with its whole text, lines and all.
func TestControlRefusal(t *testing.T) {
	const faults = "config.toml:3: frontend.<public>: one & two\nconfig.toml:9: three"
	path := socketPath(t)
	listenControl(t, path, &fakeService{
		reload: func(context.Context) (Reloaded, error) { return Reloaded{}, errors.New(faults) },
	})
	_, err := DialControl(path).Reload(t.Context())
	var refusal *Refusal
	if !errors.As(err, &refusal) || err.Error() != faults {
		t.Errorf("Reload: %v", err)
	}
	if status, body := ask(t, path, "POST /v1/reload"); status != 422 || !strings.Contains(body, `one & two\nconfig.toml:9`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestControlRequests(t *testing.T) {
	path := socketPath(t)
	var reloads atomic.Int32
	listenControl(t, path, &fakeService{reload: func(context.Context) (Reloaded, error) {
		reloads.Add(1)
		return Reloaded{}, nil
	}})
	tests := []struct {
		request string
		status  int
	}{
		{"GET /v1/reload", 405},
		{"GET /v1/drain", 405},
		{"POST /v1/status", 405},
		{"GET /", 404},
		{"POST /v2/reload", 404},
		{"POST /v1/reload " + strings.Repeat("x", maxControlBody+1), 413},
		{"POST /v1/reload " + strings.Repeat("x", maxControlBody), 200},
	}
	for _, tt := range tests {
		if status, body := ask(t, path, tt.request); status != tt.status {
			t.Errorf("%.30s: %d %q; want %d", tt.request, status, body, tt.status)
		}
	}
	if n := reloads.Load(); n != 1 {
		t.Errorf("%d reloads, want 1", n)
	}
}

// Close lets a drain be answered; that is how its client learns how it ended.
func TestControlCloseAnswers(t *testing.T) {
	path := socketPath(t)
	draining, left := make(chan struct{}), make(chan struct{})
	s := listenControl(t, path, &fakeService{drain: func(ctx context.Context) (Drained, error) {
		close(draining)
		select {
		case <-left:
			return Drained{Cut: true}, nil
		case <-ctx.Done():
			return Drained{}, context.Cause(ctx)
		}
	}})
	type answer struct {
		Drained
		error
	}
	answers := make(chan answer, 1)
	go func() {
		d, err := DialControl(path).Drain(context.Background())
		answers <- answer{d, err}
	}()
	<-draining
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	for { // Nobody new is let in while the drain goes on.
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	close(left)
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if a := <-answers; a.error != nil || !a.Cut {
		t.Errorf("Drain = %+v, %v", a.Drained, a.error)
	}
}

// Close ends what does not end by itself, and its client is told.
func TestControlCloseCuts(t *testing.T) {
	path := socketPath(t)
	draining, ended := make(chan struct{}), make(chan struct{})
	s := listenControl(t, path, &fakeService{drain: func(ctx context.Context) (Drained, error) {
		defer close(ended)
		close(draining)
		<-ctx.Done()
		return Drained{}, context.Cause(ctx)
	}})
	answer := make(chan error, 1)
	go func() {
		_, err := DialControl(path).Drain(context.Background())
		answer <- err
	}()
	<-draining
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	<-ended
	var refusal *Refusal // Whether it comes through before the cut is chance.
	if err := <-answer; !errors.Is(err, ErrUnanswered) && !errors.As(err, &refusal) {
		t.Errorf("Drain: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// A pipeListener gives out connections that synctest knows.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours, nil
}

// A drain may take longer than any deadline of the server, while those who never
// finish their request are cut.
func TestControlDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(ControlServer)
		s.http = s.answering(&fakeService{drain: func(ctx context.Context) (Drained, error) {
			select {
			case <-time.After(10 * time.Hour):
				return Drained{Cut: true}, nil
			case <-ctx.Done():
				return Drained{}, context.Cause(ctx)
			}
		}}, zerolog.Nop())
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.http.Serve(l) }()

		for _, begun := range []string{"", "POST /v1/drain HTTP/1.1\r\n", "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"} {
			conn, _ := l.dial(t.Context(), "", "")
			if _, err := io.WriteString(conn, begun); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, _ = io.Copy(io.Discard, conn)
			if took := time.Since(began); took > time.Minute {
				t.Errorf("%q is cut after %v", begun, took)
			}
			conn.Close()
		}

		c := &Client{path: "pipe", http: &http.Transport{DialContext: l.dial, DisableKeepAlives: true}}
		if d, err := c.Drain(t.Context()); err != nil || !d.Cut {
			t.Errorf("Drain = %+v, %v", d, err)
		}
		if err := s.http.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}

// Who leaves before the answer ends the request's context, and no more.
func TestControlClientLeaves(t *testing.T) {
	path := socketPath(t)
	draining, ended := make(chan struct{}), make(chan struct{})
	listenControl(t, path, &fakeService{drain: func(ctx context.Context) (Drained, error) {
		close(draining)
		<-ctx.Done()
		close(ended)
		return Drained{}, context.Cause(ctx)
	}})
	errLeft := errors.New("no patience")
	ctx, leave := context.WithCancelCause(context.Background())
	go func() {
		<-draining
		leave(errLeft)
	}()
	if _, err := DialControl(path).Drain(ctx); !errors.Is(err, errLeft) {
		t.Errorf("Drain: %v", err)
	}
	<-ended
	if _, err := DialControl(path).Status(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// An end without an answer is told as such.
func TestControlUnanswered(t *testing.T) {
	tests := []struct {
		name, answer string
		unanswered   bool
	}{
		{"nothing", "", true},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n", true},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", true},
		{"FTP", "220 Service ready.\r\n", false},
		{"a page", "HTTP/1.1 200 OK\r\n\r\n<html>", false},
		{"no such request", "HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n", false},
		{"an empty refusal", "HTTP/1.1 422 Unprocessable\r\n\r\n{}", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := socketPath(t)
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, tt.answer)
				}
			}()
			_, err = DialControl(path).Drain(t.Context())
			if err == nil || errors.Is(err, ErrUnanswered) != tt.unanswered {
				t.Errorf("Drain: %v", err)
			}
			if !tt.unanswered && !strings.Contains(err.Error(), path+" is another release, or no ftproxy: ") {
				t.Errorf("Drain: %v", err)
			}
		})
	}
}

// A client that cannot reach the service says what to do.
func TestControlNotReachable(t *testing.T) {
	path := socketPath(t)
	try := func(want string, is error) {
		t.Helper()
		_, err := DialControl(path).Status(t.Context())
		if !errors.Is(err, ErrNotReachable) || !errors.Is(err, is) || !strings.Contains(err.Error(), path+": "+want) {
			t.Errorf("Status: %v; want %q", err, want)
		}
	}
	try("there is no such socket: is ftproxy running, ", fs.ErrNotExist)
	abandonedSocket(t, path)
	try("nobody answers: ftproxy is not running", syscall.ECONNREFUSED)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	try("it is not a socket", syscall.ECONNREFUSED)
}

// abandonedSocket leaves a socket that nobody answers, as a process does that was killed.
func abandonedSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}
