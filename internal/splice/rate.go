package splice

import "ftproxy/internal/tcp"

// SetRate sets the most that is sent to the destination, in bytes per second of
// payload; 0 is no limit, as in the beginning. The kernel keeps it, so the bytes are
// spliced as before. It may be called at any time.
//
// The first ten segments of a connection are sent at once whatever the rate (some
// 14 KiB, on loopback up to 640 KiB), and the least that is sent at a time is what
// Packet returns. The error wraps errors.ErrUnsupported where the destination is not TCP, nor TLS on TCP,
// or the system is not Linux.
func (c *Copy) SetRate(bytesPerSecond int64) error {
	if err := tcp.SetPacingRate(c.destination.conn, bytesPerSecond); err != nil {
		return err
	}
	c.rate.Store(bytesPerSecond)
	return nil
}

// Acked returns the payload bytes that the destination's kernel has acknowledged;
// for a destination that is not TCP, those handed to it. Like Bytes, it may be
// called at any time, and it never decreases.
func (c *Copy) Acked() int64 {
	n := c.written.Load() // before that: what is written later is unacknowledged
	if c.destination.kernel() && !c.succeeded() {
		waiting, err := tcp.Unacknowledged(c.destination.tcp)
		if err != nil {
			return c.acked.Load() // closed: no more will be known
		}
		n -= int64(waiting)
	}
	for {
		known := c.acked.Load()
		if n <= known {
			return known
		}
		if c.acked.CompareAndSwap(known, n) {
			return n
		}
	}
}

// Packet returns the size of the packets, in bytes of payload, that leave for the
// destination at a low rate: two segments of Ethernet if it is not known.
func (c *Copy) Packet() int {
	if n := tcp.PacketSize(c.destination.conn); n > 0 {
		return n
	}
	return 2 * 1448
}

// succeeded reports whether every byte is known to be acknowledged.
func (c *Copy) succeeded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled && c.err == nil
}
