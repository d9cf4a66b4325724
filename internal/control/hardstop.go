package control

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lastWrite is how long the last words of a session may take after a hard stop.
const lastWrite = time.Second

// A HardStop ends what a session waits for when it must end at once: blocked writes to
// its two peers, and one thing more. A context for each session would take a kilobyte
// of it. The zero value is ready.
type HardStop struct {
	why atomic.Pointer[error]

	mu        sync.Mutex
	conns     [2]net.Conn // control connections, whose blocked writes fail
	interrupt func()      // ends what the session waits for while it does not look at news
}

// StopHard fails the write that a peer is in the middle of. From now on its writes have
// lastWrite. Of several reasons the first stays.
func (h *HardStop) StopHard(why error) {
	h.why.CompareAndSwap(nil, &why)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, conn := range h.conns {
		if conn != nil {
			_ = conn.SetWriteDeadline(time.Unix(1, 0))
		}
	}
	if h.interrupt != nil {
		h.interrupt()
	}
}

// HardStopped is why there was a hard stop, or nil.
func (h *HardStop) HardStopped() error {
	if why := h.why.Load(); why != nil {
		return *why
	}
	return nil
}

// InterruptBy says what a hard stop has to call until this is called with nil.
func (h *HardStop) InterruptBy(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.interrupt = f; f != nil && h.why.Load() != nil {
		f()
	}
}

// replace has a hard stop fail the writes of another control connection, or of one more
// or less where one of them is nil.
func (h *HardStop) replace(old, conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.conns {
		if h.conns[i] == old {
			h.conns[i] = conn
			return
		}
	}
}
