package splice

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// Batch returns a conn to make TLS on, in place of the one given. It has all that
// a [net.TCPConn] has for TLS, and two things more while a [Copy] runs:
//
// It reads ahead of TLS and gathers what TLS writes, because crypto/tls makes one
// system call for each record of 16 KiB. Otherwise it holds no buffer.
//
// It knows whether the peer closed with or without close_notify. [tls.Conn]
// returns io.EOF for both, so without Batch a Copy takes a FIN between two records
// for the end, whatever Options.StrictEOF says.
func Batch(c net.Conn) net.Conn { return &batch{Conn: c} }

// A batch is the conn below TLS, which reads from it under one lock of its own and
// writes to it under another.
type batch struct {
	net.Conn

	received atomic.Int64 // bytes read from Conn

	// What follows belongs to the goroutine that reads from the tls.Conn.
	reading bool   // ahead of TLS
	buffer  []byte // nil if nothing is ahead
	ahead   []byte // the part of buffer that TLS has not taken
	here    bool   // only what is ahead may be read
	dry     bool   // TLS, too, has nothing left that it could return
	eof     bool   // the peer's FIN was read, and TLS told so

	mu       sync.Mutex // guards what follows, and the order of writes
	held     bool       // records are gathered
	gathered []byte
	n        int   // bytes gathered
	sent     int64 // bytes handed to Conn
	err      error // of the first write that failed: a gap that no record may follow
}

// Read returns what was read ahead, or else reads.
func (b *batch) Read(p []byte) (int, error) {
	if len(b.ahead) == 0 {
		if b.here {
			return 0, os.ErrDeadlineExceeded // TLS can go on reading after it
		}
		if !b.reading {
			return b.receive(p)
		}
		if b.buffer == nil {
			b.buffer = buffers.get()
		}
		n, err := b.receive(b.buffer)
		if b.ahead = b.buffer[:n]; n == 0 {
			return 0, err
		}
	}
	n := copy(p, b.ahead)
	b.ahead = b.ahead[n:]
	return n, nil
}

func (b *batch) receive(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	b.received.Add(int64(n))
	b.eof = b.eof || err == io.EOF && n == 0
	return n, err
}

// readAhead begins to read as much as there is. It is for the goroutine that reads.
func (b *batch) readAhead() { b.reading = true }

// stopAhead ends that, and gives up what is ahead.
func (b *batch) stopAhead() {
	b.reading, b.ahead = false, nil
	b.giveBack()
}

// giveBack gives the buffer back if nothing is in it.
func (b *batch) giveBack() {
	if len(b.ahead) == 0 && b.buffer != nil {
		buffers.put(b.buffer)
		b.buffer, b.ahead = nil, nil
	}
}

// Write sends a record, or keeps it for release.
func (b *batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.held {
		return b.send(p)
	}
	if b.gathered == nil {
		b.gathered = buffers.get()
	}
	if b.n+len(p) > len(b.gathered) {
		if err := b.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > len(b.gathered) {
		return b.send(p)
	}
	b.n += copy(b.gathered[b.n:], p)
	return len(p), nil
}

// hold gathers what is written until release.
func (b *batch) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = true
}

// release sends what was gathered.
func (b *batch) release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = false
	err := b.flush()
	if b.gathered != nil {
		buffers.put(b.gathered)
		b.gathered = nil
	}
	return err
}

func (b *batch) flush() error {
	if b.n == 0 {
		return b.err
	}
	_, err := b.send(b.gathered[:b.n])
	b.n = 0
	return err
}

func (b *batch) send(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.Conn.Write(p)
	b.sent += int64(n)
	b.err = err
	return n, err
}

// total returns how many bytes were sent.
func (b *batch) total() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent
}

// NetConn returns the conn given to Batch.
func (b *batch) NetConn() net.Conn { return b.Conn }
