package metrics

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// The bytes of a transfer are counted while it runs, each once, and never taken back.
func TestBytesOfRunningTransfers(t *testing.T) {
	m := New("test")
	var moved atomic.Int64
	running := m.TransferStarted(Download, moved.Load)
	shows := func(when string, want float64) {
		t.Helper()
		if _, err := m.Registry().Gather(); err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(m.transferBytes.WithLabelValues(Download)); got != want {
			t.Errorf("%s: %v bytes; want %v", when, got, want)
		}
	}
	shows("at the start", 0)
	moved.Store(700)
	shows("while it runs", 700)
	shows("asked again", 700)
	moved.Store(1000)
	m.TransferEnded(running, OK, 1000)
	shows("ended", 1000)
	m.TransferEnded(m.TransferStarted(Download, func() int64 { return 50 }), Client, 0)
	shows("one that delivered nothing", 1000)
}

// Scrapes beside transfers that end count each byte once.
func TestBytesUnderScrapes(t *testing.T) {
	m := New("test")
	var all, scrapes sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for range 50 {
				var moved atomic.Int64
				tr := m.TransferStarted(Upload, moved.Load)
				for range 10 {
					moved.Add(10)
				}
				m.TransferEnded(tr, OK, moved.Load())
			}
		})
		scrapes.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					m.countRunning()
				}
			}
		})
	}
	all.Wait()
	close(done)
	scrapes.Wait()
	if got := testutil.ToFloat64(m.transferBytes.WithLabelValues(Upload)); got != 20000 {
		t.Errorf("%v bytes; want 20000", got)
	}
}
