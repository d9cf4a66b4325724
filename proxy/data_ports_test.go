package proxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ftproxy/internal/portpool"
)

// A session that was refused a port at once, because very many wait, is not heard again
// for a second; one that gives up meanwhile does not wait for that.
func TestPauseAfterPortless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := portpool.New(portpool.Options{})
		pool.Close()
		for _, limit := range []time.Duration{time.Minute, time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			began := time.Now()
			_, err := pool.LeasePair(ctx, portlessPause, &portpool.Request{}, nil)
			cancel()
			if !errors.Is(err, portpool.ErrRequest) {
				t.Errorf("the lease ends with %v", err)
			}
			if took, want := time.Since(began), min(limit, portlessPause); took != want {
				t.Errorf("it takes %v, want %v", took, want)
			}
		}
	})
}
