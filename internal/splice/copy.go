package splice

import (
	"io"
	"time"
)

const (
	// pieceSize bounds one Write to a conn whose progress cannot be seen in
	// the kernel: a slow receiver must take that much within Options.Stall. It
	// is the payload of one TLS record.
	pieceSize = 16 << 10
	// pieceParts is the part of a second that one Write may take at a rate that
	// was set, so that its progress is seen.
	pieceParts = 8
	// watchDelay is how long the copy must have been waiting for the
	// destination before the source is watched for a reset.
	watchDelay = 50 * time.Millisecond
)

// moveBuffered copies through user space until the source's EOF, for conns that
// are not both TCP.
func (c *Copy) moveBuffered() (Side, error) {
	if b := c.source.batch; b != nil {
		b.readAhead()
		defer b.stopAhead()
	}
	for {
		if done, side, err := c.moveBuffer(); done {
			return side, err
		}
	}
}

// moveBuffer moves what one buffer holds.
func (c *Copy) moveBuffer() (done bool, side Side, err error) {
	c.source.await()
	buf := buffers.get()
	defer buffers.put(buf)
	n, err := c.source.read(buf)
	if n > 0 {
		c.read.Add(int64(n))
		if err := c.writeBuffered(buf[:n]); err != nil {
			return true, Destination, resetError(err)
		}
	}
	if err != nil {
		return true, Source, c.sourceEnd(err)
	}
	return false, None, nil
}

func (c *Copy) writeBuffered(b []byte) error {
	for len(b) > 0 {
		piece := b[:min(len(b), c.piece())]
		c.block()
		n, err := c.destination.write(piece)
		c.unblock()
		c.written.Add(int64(n))
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrNoProgress
		}
		b = b[n:]
	}
	return nil
}

// piece bounds one Write: what it has written is counted when it returns.
func (c *Copy) piece() int {
	if !c.destination.kernel() {
		return pieceSize
	}
	if rate := c.rate.Load(); rate > 0 {
		return int(min(max(rate/pieceParts, pieceSize), bufferLarge))
	}
	return bufferLarge
}

// block says that the copy waits for the destination, and does not see what
// the source does.
func (c *Copy) block() {
	if !c.source.kernel() {
		return
	}
	c.mu.Lock()
	c.blocked = true
	c.mu.Unlock()
	c.armings.start(watchDelay, c.watchSource)
}

func (c *Copy) unblock() {
	if !c.source.kernel() {
		return
	}
	c.mu.Lock()
	c.blocked = false
	parked := c.parked
	c.mu.Unlock()
	c.armings.cancel()
	if parked && c.source.tls != nil {
		c.unpark()
	}
}

// unpark ends watchSource, because TLS may have to answer what it reads.
func (c *Copy) unpark() {
	c.source.tcp.SetWriteDeadline(time.Unix(1, 0))
	c.armings.wait()
	c.source.tcp.SetWriteDeadline(time.Time{})
	c.mu.Lock()
	c.parked = false
	c.mu.Unlock()
}

// watchConn reads and discards what a destination sends that is not plain TCP,
// and reports whether that ended with an EOF. Without one nothing more can be
// learned from the conn.
func (c *Copy) watchConn() (eof bool) {
	buf := make([]byte, 512)
	for {
		n, err := c.destination.conn.Read(buf)
		c.addStray(n)
		switch {
		case err == nil:
		case err == io.EOF, err == io.ErrUnexpectedEOF && c.destination.tls != nil:
			c.destinationFIN()
			return true
		default:
			if c.destination.tls != nil && !ofSocket(err) {
				c.fail(Destination, err) // it may have acknowledged what it cannot decrypt
			}
			c.destinationGone(err)
			return false
		}
	}
}
