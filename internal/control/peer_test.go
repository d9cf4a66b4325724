package control

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"ftproxy/internal/ftp"
)

// start gives a peer of commands and the other end of its connection.
func start(t *testing.T, stop *HardStop) (*Peer[ftp.Command], net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	p := &Peer[ftp.Command]{Conn: near, Reader: ftp.NewCommandReader(near)}
	p.Start(time.Minute, stop)
	t.Cleanup(func() {
		p.Close()
		p.Wait()
		_ = far.Close()
	})
	return p, far
}

// next waits for one message.
func next(p *Peer[ftp.Command]) Got[ftp.Command] {
	for {
		p.Request()
		if g, ok := p.Received(<-p.In()); ok {
			return g
		}
	}
}

func TestMessages(t *testing.T) {
	p, far := start(t, new(HardStop))
	go func() {
		_, _ = far.Write([]byte("NOO"))
		_, _ = far.Write([]byte("P\r\nPWD\r\n"))
		_ = far.Close()
	}()
	for _, want := range []string{"NOOP", "PWD"} {
		if g := next(p); g.Err != nil || g.Msg.Verb != want {
			t.Errorf("got %q, %v; want %s", g.Msg.Verb, g.Err, want)
		}
	}
	if g := next(p); g.Err != io.EOF || !p.Ended || p.Failure != io.EOF {
		t.Errorf("got %v, ended %v, failure %v; want EOF", g.Err, p.Ended, p.Failure)
	}
	if p.Fills != 2 {
		t.Errorf("the pump has read %d times; want 2", p.Fills)
	}
}

// Nothing that was sent before an upgrade may count behind it (H68).
func TestQuiet(t *testing.T) {
	for _, tt := range []struct {
		name, sent string
		want       bool
	}{
		{"nothing sent", "", true},
		{"half a command", "NOO", false},
		{"a command", "NOOP\r\n", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, far := start(t, new(HardStop))
			p.Request()
			if tt.sent != "" {
				_, _ = far.Write([]byte(tt.sent))
				synctest.Wait()
			}
			if got := p.Quiet(); got != tt.want {
				t.Errorf("%s: quiet %v", tt.name, got)
			}
			if !tt.want {
				return
			}
			near, further := net.Pipe()
			before := p.Conn
			p.Upgrade(near)
			go func() {
				_, _ = further.Write([]byte("PWD\r\n"))
				_ = further.Close()
			}()
			if g := next(p); g.Msg.Verb != "PWD" {
				t.Errorf("behind the upgrade: %q, %v", g.Msg.Verb, g.Err)
			}
			_ = before.Close()
		})
	}
}

// A hard stop fails the write that is under way, calls what it has to interrupt, and
// leaves a moment for last words.
func TestHardStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop, why := new(HardStop), errors.New("enough")
		p, far := start(t, stop)
		interrupted := false
		stop.InterruptBy(func() { interrupted = true })
		failed := make(chan error)
		go func() {
			p.Out = append(p.Out, "220 Nobody reads this.\r\n"...)
			failed <- p.Flush()
		}()
		synctest.Wait()
		stop.StopHard(why)
		stop.StopHard(errors.New("too late"))
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) || !p.Broken {
			t.Errorf("the write fails with %v, broken %v", err, p.Broken)
		}
		if !interrupted || stop.HardStopped() != why {
			t.Errorf("interrupted %v, because of %v", interrupted, stop.HardStopped())
		}
		if p.Write(nil) != net.ErrClosed {
			t.Error("a broken connection is written to")
		}

		other, otherFar := start(t, stop)
		began := time.Now()
		if err := other.Write([]byte("421 Bye.\r\n")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != lastWrite {
			t.Errorf("last words: %v after %v", err, time.Since(began))
		}
		_, _ = far, otherFar
	})
}
