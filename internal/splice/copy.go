package splice

import (
	"io"
	"sync"
	"time"
)

const (
	bufferSize = 64 << 10
	// pieceSize bounds one Write to a conn whose progress cannot be seen in
	// the kernel: a slow receiver must take that much within Options.Stall. It
	// is the payload of one TLS record.
	pieceSize = 16 << 10
	// watchDelay is how long the copy must have been waiting for the
	// destination before the source is watched for a reset.
	watchDelay = 50 * time.Millisecond
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// moveBuffered copies through user space until the source's EOF, for conns that
// are not both TCP.
func (c *Copy) moveBuffered() (Side, error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := c.source.conn.Read(buf[:])
		if n > 0 {
			c.read.Add(int64(n))
			if err := c.writeBuffered(buf[:n]); err != nil {
				return Destination, resetError(err)
			}
		}
		if err == io.EOF {
			return Source, c.sourceEOF()
		}
		if err != nil {
			return Source, resetError(err)
		}
	}
}

func (c *Copy) writeBuffered(b []byte) error {
	for len(b) > 0 {
		piece := b
		if !c.destination.kernel() {
			piece = b[:min(len(b), pieceSize)]
		}
		c.block()
		n, err := c.destination.conn.Write(piece)
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
	c.mu.Unlock()
	c.armings.cancel()
}

// watchConn reads and discards what a destination sends that is not TCP. After
// its EOF nothing more can be learned from it.
func (c *Copy) watchConn() {
	buf := make([]byte, 512)
	for {
		n, err := c.destination.conn.Read(buf)
		c.stray.Add(int64(n))
		if err == io.EOF {
			c.destinationFIN()
			return
		}
		if err != nil {
			c.destinationGone(err)
			return
		}
	}
}
