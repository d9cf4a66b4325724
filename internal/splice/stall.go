package splice

import (
	"sync"
	"time"

	"ftproxy/internal/tcp"
)

// stallTicks is how often the counters are looked at in the time of a stall.
// The last byte may have moved just after a tick, so a stall is noticed after
// 1 to 1 + 1/stallTicks times Options.Stall.
const stallTicks = 8

// progress is what changes as long as a transfer lives.
type progress struct {
	read, written int64
	ciphertext    int64 // read by the TLS of the source
	outq          int
}

// startStallTicks compares the counters at a coarse tick, so that moving a
// byte costs no timer. A TCP destination's unacknowledged bytes count too: a
// slow receiver makes room in its kernel long before ours wants more bytes.
func (c *Copy) startStallTicks() {
	if c.options.Stall <= 0 {
		return
	}
	tick := max(c.options.Stall/stallTicks, time.Millisecond)
	last := c.progress()
	idle := 0
	c.stalls.start(tick, func() (again bool) {
		now := c.progress()
		if now != last {
			last, idle = now, 0
			return true
		}
		idle++
		side, most := Source, stallTicks
		if now.read > now.written || now.outq > 0 {
			side, most = Destination, max(stallTicks, int(c.lull()/tick))
		}
		if idle < most {
			return true
		}
		c.fail(side, ErrStalled)
		return false
	})
}

// lull is how long nothing may move because we said so: the time of two of the
// largest packets at the rate that was set.
func (c *Copy) lull() time.Duration {
	const packet = 64 << 10
	rate := c.rate.Load()
	if rate <= 0 {
		return 0
	}
	return time.Duration(2*packet*float64(time.Second)/float64(rate)) + time.Millisecond
}

func (c *Copy) progress() progress {
	p := progress{read: c.read.Load(), written: c.written.Load(), ciphertext: c.source.ciphertext()}
	if c.destination.kernel() {
		p.outq, _ = tcp.Unacknowledged(c.destination.tcp)
	}
	return p
}

// An alarm calls a function after a delay, without a goroutine until then.
// The zero value is ready.
type alarm struct {
	mu      sync.Mutex
	timer   *time.Timer
	calls   sync.WaitGroup // pending or running
	pending bool
	stopped bool
}

// start calls f after d, and again as long as it returns true.
func (a *alarm) start(d time.Duration, f func() (again bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped || a.pending {
		return
	}
	a.pending = true
	a.calls.Add(1)
	if a.timer != nil {
		a.timer.Reset(d)
		return
	}
	a.timer = time.AfterFunc(d, func() { a.ring(d, f) })
}

func (a *alarm) ring(d time.Duration, f func() bool) {
	defer a.calls.Done()
	a.mu.Lock()
	a.pending = false
	a.mu.Unlock()
	if f() {
		a.start(d, nil) // the timer exists and keeps its function
	}
}

// cancel takes a pending call back. A running one goes on.
func (a *alarm) cancel() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending && a.timer.Stop() {
		a.pending = false
		a.calls.Done()
	}
}

// wait waits for a running call, and for a pending one.
func (a *alarm) wait() { a.calls.Wait() }

// stop ends the alarm for good and waits for a running call.
func (a *alarm) stop() {
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.cancel()
	a.wait()
}
