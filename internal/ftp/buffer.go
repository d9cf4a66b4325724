package ftp

import (
	"bytes"
	"io"
)

// What a reader holds, in bytes: while its peer is idle, when most commands and
// replies fit; and while a peer whose lines may be longer fills all there is.
const (
	smallBuffer = 128
	busyBuffer  = 4 << 10
)

// maxEmptyReads is how often an io.Reader may return nothing and no error.
const maxEmptyReads = 100

// A lineBuffer holds what was read and not yet consumed. It doubles while one
// line does not fit, up to limit+1 bytes, grows to busyBuffer when a read has
// filled it, and goes back to its small array before it waits with little in it.
type lineBuffer struct {
	r       io.Reader
	limit   int    // longest line in bytes, its LF not counted
	buf     []byte // small[:], or a larger one for a long line
	start   int    // buf[start:end] is pending
	end     int
	scanned int   // so many pending bytes are known to hold no LF
	full    bool  // the last read left no room
	err     error // came along with bytes; due when those are used up
	small   [smallBuffer]byte
}

func (b *lineBuffer) init(r io.Reader, limit int) {
	b.r, b.limit, b.buf = r, limit, b.small[:]
}

// pending returns the bytes that were read and not consumed. They move at the
// next fill.
func (b *lineBuffer) pending() []byte { return b.buf[b.start:b.end] }

func (b *lineBuffer) consume(n int) {
	b.start += n
	b.scanned = 0
}

// line consumes one line and returns it without its LF, or false when no
// whole line is pending.
func (b *lineBuffer) line() ([]byte, bool) {
	p := b.pending()
	i := bytes.IndexByte(p[b.scanned:], '\n')
	if i < 0 {
		b.scanned = len(p)
		return nil, false
	}
	i += b.scanned
	b.consume(i + 1)
	return p[:i], true
}

// fill waits for more bytes. The pending bytes must be no more than limit. An
// error is returned once, after all bytes that came before it, and loses
// nothing: after a timeout a reader may be used again.
func (b *lineBuffer) fill() error {
	if err := b.err; err != nil {
		b.err = nil
		return err
	}
	b.makeRoom()
	for range maxEmptyReads {
		n, err := b.r.Read(b.buf[b.end:])
		if n > 0 {
			b.end += n
			b.full = b.end == len(b.buf)
			b.err = err
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom leaves room for one byte at least after the pending ones, and all
// the room that there is.
func (b *lineBuffer) makeRoom() {
	p := b.pending()
	busy := b.full && b.limit > busyBuffer
	switch {
	case busy && len(b.buf) < busyBuffer:
		b.buf = make([]byte, busyBuffer)
	case busy && len(b.buf) == busyBuffer && len(p) < busyBuffer:
	case len(b.buf) > smallBuffer && len(p) <= smallBuffer/2: // half, lest it grow again at once
		b.buf = b.small[:]
	case len(p) == len(b.buf):
		b.buf = make([]byte, min(2*len(b.buf), b.limit+1))
	case b.start == 0:
		return
	}
	b.end = copy(b.buf, p)
	b.start = 0
}
