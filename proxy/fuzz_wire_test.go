package proxy

import (
	"errors"
	"io"
	"net"

	"ftproxy/internal/ftptest"
)

// A fuzzWire is an end of a connection that a script holds. One goroutine reads
// all that comes and one sends what is to be sent, so the script never waits.
// The script looks at it only when both rest (synctest.Wait).
type fuzzWire struct {
	conn  *ftptest.Conn
	sends chan func()

	sent  []byte // what the script wants to send
	wrote int    // how much of it was taken
	last  bool   // the script wants to send no more
	fin   bool   // the sending direction ended in order
	gone  bool   // the script has closed or reset it

	lazy  bool // nobody reads yet: the peer's bytes stay in a small buffer
	got   []byte
	ended error // io.EOF, or what ended the reading
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
	for w.ended == nil {
		n, err := w.conn.Read(buf)
		w.got = append(w.got, buf[:n]...)
		w.ended = err
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
		w.wrote += n
	}
}

func (w *fuzzWire) writeUrgent(b []byte) {
	w.sent = append(w.sent, b...)
	w.sends <- func() {
		n, _ := w.conn.WriteUrgent(b)
		w.wrote += n
	}
}

// halfClose ends the sending direction behind what is still being sent.
func (w *fuzzWire) halfClose() {
	w.last = true
	w.sends <- func() { w.fin = w.conn.CloseWrite() == nil && w.wrote == len(w.sent) || w.fin }
}

// close closes likewise.
func (w *fuzzWire) close() {
	w.last, w.gone = true, true
	w.sends <- func() { w.fin = w.conn.Close() == nil && w.wrote == len(w.sent) || w.fin }
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
