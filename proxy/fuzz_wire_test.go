package proxy

import (
	"errors"
	"io"
	"net"
	"sync"

	"ftproxy/internal/ftptest"
)

// A fuzzWire is an end of a connection that a script holds. One goroutine reads
// all that comes and one sends what is to be sent, so the script never waits;
// it sees what they did when it looks.
type fuzzWire struct {
	conn  *ftptest.Conn
	sends chan func()

	sent []byte // what the script wants to send
	last bool   // it wants to send no more
	gone bool   // it has closed or reset the connection
	lazy bool   // nobody reads yet: the peer's bytes stay in a small buffer
	fuzzProgress

	mu  sync.Mutex
	now fuzzProgress
}

// fuzzProgress is what the goroutines of a wire have done.
type fuzzProgress struct {
	wrote int    // how much of what is to be sent was taken
	fin   bool   // the sending direction ended in order
	got   []byte // all that was received
	ended error  // io.EOF, or what ended the reading
}

// look brings what the script knows up to date.
func (w *fuzzWire) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fuzzProgress = w.now
}

func (w *fuzzWire) note(done func(*fuzzProgress)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done(&w.now)
}

// lazyBuffer is what a wire holds that nobody reads.
const lazyBuffer = 1000

func newFuzzWire(conn net.Conn, lazy bool) *fuzzWire {
	w := &fuzzWire{conn: conn.(*ftptest.Conn), sends: make(chan func(), 1024), lazy: lazy}
	go w.send()
	if lazy {
		_ = w.conn.SetReadBuffer(lazyBuffer)
	} else {
		go w.read()
	}
	return w
}

func (w *fuzzWire) send() {
	for f := range w.sends {
		f()
	}
}

func (w *fuzzWire) read() {
	buf := make([]byte, 8<<10)
	for {
		n, err := w.conn.Read(buf)
		w.note(func(p *fuzzProgress) { p.got, p.ended = append(p.got, buf[:n]...), err })
		if err != nil {
			return
		}
	}
}

// startReading ends laziness.
func (w *fuzzWire) startReading() {
	if w.lazy {
		w.lazy = false
		go w.read()
	}
}

func (w *fuzzWire) write(b []byte) {
	w.sent = append(w.sent, b...)
	w.sends <- func() {
		n, _ := w.conn.Write(b)
		w.note(func(p *fuzzProgress) { p.wrote += n })
	}
}

func (w *fuzzWire) writeUrgent(b []byte) {
	w.sent = append(w.sent, b...)
	w.sends <- func() {
		n, _ := w.conn.WriteUrgent(b)
		w.note(func(p *fuzzProgress) { p.wrote += n })
	}
}

// halfClose ends the sending direction behind what is still being sent.
func (w *fuzzWire) halfClose() {
	w.endSending(w.conn.CloseWrite)
}

// close closes likewise.
func (w *fuzzWire) close() {
	w.gone = true
	w.endSending(w.conn.Close)
}

func (w *fuzzWire) endSending(end func() error) {
	w.last = true
	size := len(w.sent)
	w.sends <- func() {
		err := end()
		w.note(func(p *fuzzProgress) { p.fin = p.fin || err == nil && p.wrote == size })
	}
}

// reset aborts at once.
func (w *fuzzWire) reset() {
	w.last, w.gone = true, true
	_ = w.conn.SetLinger(0)
	_ = w.conn.Close()
}

// stop ends the goroutines.
func (w *fuzzWire) stop() {
	_ = w.conn.Close()
	close(w.sends)
}

// endedBy is how the reading ended, as a dialogue says it; "" while it has not.
func (w *fuzzWire) endedBy() string {
	switch {
	case w == nil, w.ended == nil, errors.Is(w.ended, net.ErrClosed):
		return ""
	case w.ended == io.EOF:
		return "eof"
	}
	return "gone"
}
