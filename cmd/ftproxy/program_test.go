package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A screen is an output that a test can wait on.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed at the next Write
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.text.Write(b)
}

func (s *screen) read() (text string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.changed
}

func (s *screen) String() string {
	text, _ := s.read()
	return text
}

// A running is a program at work in the test's process.
type running struct {
	t              *testing.T
	stdout, stderr *screen
	signals        chan os.Signal
	ended          chan struct{}
	code           int // valid once ended is closed
}

// runInBackground starts the program; when the test ends, so does it, and no
// goroutine of it is left.
func runInBackground(t *testing.T, args ...string) *running {
	t.Helper()
	others := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{
		t: t, stdout: newScreen(), stderr: newScreen(),
		signals: make(chan os.Signal, 8), ended: make(chan struct{}),
	}
	p := &program{stdout: r.stdout, stderr: r.stderr, signals: r.signals, sysctl: t.TempDir()}
	go func() {
		defer close(r.ended)
		r.code = p.run(ctx, args)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
		wantNoOther(t, others)
		if t.Failed() {
			t.Logf("standard output:\n%s\nstandard error:\n%s", r.stdout, r.stderr)
		}
	})
	return r
}

// patience bounds a test's waits. It is there to end one that hangs: the machine
// may stand still for seconds.
const patience = time.Minute

// wantNoOther expects that no goroutines stay but others. goleak's own patience
// is less than half a second.
func wantNoOther(t *testing.T, others goleak.Option) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = goleak.Find(others); err == nil {
			return
		}
	}
	t.Error(err)
}

// waitFor returns what s shows as soon as it shows text.
func (r *running) waitFor(s *screen, text string) string {
	r.t.Helper()
	for {
		shown, changed := s.read()
		if strings.Contains(shown, text) {
			return shown
		}
		select {
		case <-changed:
		case <-r.ended:
			if shown = s.String(); strings.Contains(shown, text) {
				return shown
			}
			r.t.Fatalf("ended with %d and never showed %q", r.code, text)
		case <-r.t.Context().Done():
			r.t.Fatalf("never showed %q", text)
		}
	}
}

// exit waits for the end and returns the exit code.
func (r *running) exit() int {
	<-r.ended
	return r.code
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		args string
		want int
	}{
		{"-h", 0},
		{"help", 0},
		{"help demo", 0},
		{"check -h", 0},
		{"version", 0},
		{"check -config testdata/missing.toml", 1},
		{"serve -config testdata/missing.toml", 1},
		{"-config testdata/missing.toml", 1},
		{"unknown", 2},
		{"help unknown", 2},
		{"-unknown", 2},
		{"serve -unknown", 2},
		{"check one two", 2},
		{"demo -listen 192.0.2.1:2121", 2},
	}
	for _, tt := range tests {
		p := &program{stdout: io.Discard, stderr: io.Discard}
		if got := p.run(t.Context(), strings.Fields(tt.args)); got != tt.want {
			t.Errorf("ftproxy %s = %d, want %d", tt.args, got, tt.want)
		}
	}
}

// Every command says in -h what it is for and shows an example that begins with
// its own name.
func TestHelpOfEveryCommand(t *testing.T) {
	for _, c := range commands() {
		if !strings.Contains(c.help, "\nExample:\n\n  ftproxy "+c.name) {
			t.Errorf("%s -h has no example", c.name)
		}
		for line := range strings.Lines(c.help) {
			if len(line) > 81 {
				t.Errorf("%s -h is wider than a terminal: %q", c.name, line)
			}
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// waitFor waits for something that comes soon.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(busyTimeout); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Errorf("waited in vain for %s", what)
			return
		}
	}
}
