package splice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// Only one conn is TCP: the payload is copied, and the TCP side is watched and
// asked all the same.

func start(t *testing.T, c *Copy) <-chan Result {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	results := make(chan Result, 1)
	go func() { results <- c.Run(ctx) }()
	return results
}

// mustReturn waits for the result of Run.
func mustReturn(t *testing.T, results <-chan Result) Result {
	t.Helper()
	select {
	case r := <-results:
		return r
	case <-time.After(patience):
		t.Fatal("Run does not return")
		panic("unreachable")
	}
}

func TestOnlyDestinationTCP(t *testing.T) {
	t.Run("transfer", func(t *testing.T) {
		destination, taker := tcpPair(t, 0)
		source, sender := net.Pipe()
		c := New(destination, source, Options{Stall: never})
		results := start(t, c)
		payload := random(1 << 20)
		go func() { sender.Write(payload); sender.Close() }()
		if got := mustEnd(t, taker); !bytes.Equal(got, payload) {
			t.Errorf("%d bytes arrived", len(got))
		}
		if r := mustReturn(t, results); r.Err != nil || r.Bytes != int64(len(payload)) || c.Spliced() != 0 {
			t.Errorf("Run = %+v, %d spliced", r, c.Spliced())
		}
		taker.Close()
		c.Finish(context.Background(), patience)
	})
	t.Run("tail not acknowledged", func(t *testing.T) {
		destination, taker := tcpPair(t, smallBuffer)
		destination.SetWriteBuffer(1 << 20)
		source, sender := net.Pipe()
		c := New(destination, source, Options{Stall: never})
		results := start(t, c)
		sender.Write(make([]byte, 100<<10))
		sender.Close()
		eventually(t, "delivering", c.ended.Load)
		reset(t, taker)
		if r := mustReturn(t, results); r.Failed != Destination || !errors.Is(r.Err, ErrReset) {
			t.Errorf("Run = %+v", r)
		}
	})
	t.Run("reset while the source is silent", func(t *testing.T) {
		destination, taker := tcpPair(t, 0)
		source, sender := net.Pipe()
		defer sender.Close()
		results := start(t, New(destination, source, Options{}))
		reset(t, taker)
		if r := mustReturn(t, results); r.Failed != Destination || !errors.Is(r.Err, ErrReset) {
			t.Errorf("Run = %+v", r)
		}
	})
}

func TestOnlySourceTCP(t *testing.T) {
	t.Run("transfer", func(t *testing.T) {
		source, sender := tcpPair(t, 0)
		destination, taker := net.Pipe()
		c := New(destination, source, Options{Stall: never})
		results := start(t, c)
		payload := random(1 << 20)
		go func() { sender.Write(payload); sender.Close() }()
		if got, err := io.ReadAll(taker); !bytes.Equal(got, payload) || err != nil {
			t.Errorf("%d bytes arrived, then %v", len(got), err)
		}
		if r := mustReturn(t, results); r.Err != nil || r.Bytes != int64(len(payload)) {
			t.Errorf("Run = %+v", r)
		}
		c.Finish(context.Background(), patience)
	})
	t.Run("reset while the destination takes nothing", func(t *testing.T) {
		source, sender := tcpPair(t, 0)
		destination, taker := net.Pipe()
		defer taker.Close()
		results := start(t, New(destination, source, Options{}))
		sender.Write([]byte("never taken"))
		reset(t, sender)
		if r := mustReturn(t, results); r.Failed != Source || !errors.Is(r.Err, ErrReset) {
			t.Errorf("Run = %+v", r)
		}
	})
}
