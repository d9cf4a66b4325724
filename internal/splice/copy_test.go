package splice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ftproxy/internal/tcp"
)

// A half is one end of a fake connection that can be half-closed, made of two
// pipes. They have no buffer: a write waits for its reader.
type half struct {
	*io.PipeReader
	w      *io.PipeWriter
	linger int
}

func halves() (ours, peer *half) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return &half{r1, w2, -1}, &half{r2, w1, -1}
}

func (h *half) Write(b []byte) (int, error) { return h.w.Write(b) }
func (h *half) CloseWrite() error           { return h.w.Close() }
func (h *half) SetLinger(sec int) error     { h.linger = sec; return nil }
func (h *half) Close() error {
	err := io.EOF
	if h.linger == 0 {
		err = syscall.ECONNRESET
	}
	h.w.CloseWithError(err)
	h.PipeReader.CloseWithError(err)
	return nil
}
func (h *half) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (h *half) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (h *half) SetDeadline(time.Time) error      { return nil }
func (h *half) SetReadDeadline(time.Time) error  { return nil }
func (h *half) SetWriteDeadline(time.Time) error { return nil }

// fake runs a copy between fake conns in a bubble with a fake clock.
func fake(t *testing.T, o Options, f func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, cancel context.CancelCauseFunc)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		destination, taker := halves()
		source, sender := halves()
		c := New(destination, source, o)
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		run := func() <-chan Result {
			results := make(chan Result, 1)
			go func() { results <- c.Run(ctx) }()
			return results
		}
		f(t, c, sender, taker, run, cancel)
	})
}

func wantFailure(t *testing.T, r Result, side Side, err error, peers ...*half) {
	t.Helper()
	if r.Failed != side || !errors.Is(r.Err, err) {
		t.Errorf("Run = %+v; want %v failed with %v", r, side, err)
	}
	for _, p := range peers {
		if _, err := p.Read(make([]byte, 1)); err != syscall.ECONNRESET {
			t.Errorf("a peer reads %v, want a reset", err)
		}
	}
}

func TestFakeTransfer(t *testing.T) {
	fake(t, Options{Stall: time.Minute}, func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, cancel context.CancelCauseFunc) {
		results := run()
		payload := bytes.Repeat([]byte("fake"), 50_000)
		go func() { sender.Write(payload); sender.CloseWrite() }()
		taker.Write([]byte("stray"))
		got, err := io.ReadAll(taker)
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes arrived, then %v", len(got), err)
		}
		if r := <-results; r.Err != nil || r.Bytes != int64(len(payload)) {
			t.Errorf("Run = %+v", r)
		}
		synctest.Wait() // The taker's write ends before the bytes are counted.
		if c.Stray() != 5 || c.Spliced() != 0 {
			t.Errorf("%d stray, %d spliced", c.Stray(), c.Spliced())
		}
		start := time.Now()
		c.Finish(context.Background(), 4*time.Second) // no FIN comes
		if d := time.Since(start); d != 4*time.Second {
			t.Errorf("Finish took %v", d)
		}
	})
}

func TestFakeFailures(t *testing.T) {
	type bubble = func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, cancel context.CancelCauseFunc)
	tests := map[string]bubble{
		"source resets": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, _ context.CancelCauseFunc) {
			results := run()
			tcp.Reset(sender)
			wantFailure(t, <-results, Source, ErrReset, taker)
		},
		"destination resets": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, _ context.CancelCauseFunc) {
			results := run()
			tcp.Reset(taker)
			wantFailure(t, <-results, Destination, ErrReset, sender)
		},
		"destination resets, source sends": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, _ context.CancelCauseFunc) {
			results := run()
			go sender.Write(make([]byte, 1<<20))
			synctest.Wait()
			tcp.Reset(taker)
			wantFailure(t, <-results, Destination, ErrReset, sender)
		},
		"source stalls": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, _ context.CancelCauseFunc) {
			start := time.Now()
			wantFailure(t, <-run(), Source, ErrStalled, sender, taker)
			if d := time.Since(start); d < time.Minute || d > time.Minute*5/4 {
				t.Errorf("noticed after %v", d)
			}
		},
		"source stalls just after a tick": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, _ context.CancelCauseFunc) {
			results := run()
			<-time.After(time.Minute/stallTicks + 1)
			go sender.Write([]byte("x"))
			taker.Read(make([]byte, 1))
			start := time.Now()
			wantFailure(t, <-results, Source, ErrStalled, sender, taker)
			if d := time.Since(start); d < time.Minute || d > time.Minute*5/4 {
				t.Errorf("noticed after %v", d)
			}
		},
		"destination stalls": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, _ context.CancelCauseFunc) {
			results := run()
			go sender.Write(make([]byte, 1<<20))
			wantFailure(t, <-results, Destination, ErrStalled, sender, taker)
		},
		"cancelled": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, cancel context.CancelCauseFunc) {
			results := run()
			synctest.Wait()
			cancel(errCause)
			wantFailure(t, <-results, None, errCause, sender, taker)
		},
		"cancelled while the destination takes nothing": func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, cancel context.CancelCauseFunc) {
			results := run()
			go sender.Write(make([]byte, 1<<20))
			synctest.Wait()
			cancel(errCause)
			wantFailure(t, <-results, None, errCause, sender, taker)
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			fake(t, Options{Stall: time.Minute}, func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, cancel context.CancelCauseFunc) {
				start := time.Now()
				f(t, c, sender, taker, run, cancel)
				c.Finish(context.Background(), time.Hour)
				if d := time.Since(start); d > 2*time.Minute {
					t.Errorf("took %v", d)
				}
			})
		})
	}
}

var errCause = errors.New("cause")

// A receiver that takes a little within every Stall is slow, not stalled.
func TestFakeSlowReceiver(t *testing.T) {
	fake(t, Options{Stall: time.Minute}, func(t *testing.T, c *Copy, sender, taker *half, run func() <-chan Result, cancel context.CancelCauseFunc) {
		results := run()
		const size = 10 * pieceSize
		go func() { sender.Write(make([]byte, size)); sender.CloseWrite() }()
		b := make([]byte, pieceSize)
		for range size / pieceSize {
			<-time.After(50 * time.Second)
			if _, err := io.ReadFull(taker, b); err != nil {
				t.Fatal(err)
			}
		}
		taker.Close()
		if r := <-results; r.Err != nil {
			t.Errorf("Run = %+v", r)
		}
		c.Finish(context.Background(), time.Minute)
	})
}

// net.Pipe has no half-close: its EOF is a close.
func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		destination, taker := net.Pipe()
		source, sender := net.Pipe()
		c := New(destination, source, Options{})
		results := make(chan Result, 1)
		go func() { results <- c.Run(t.Context()) }()
		go func() { sender.Write([]byte("hello")); sender.Close() }()
		if got, err := io.ReadAll(taker); string(got) != "hello" || err != nil {
			t.Errorf("%q arrived, then %v", got, err)
		}
		if r := <-results; r.Err != nil || r.Bytes != 5 {
			t.Errorf("Run = %+v", r)
		}
		c.Finish(context.Background(), time.Minute)
	})
}
