// Package splice joins two connections: it moves the payload of one transfer
// from a source to a destination and says truthfully how that ended.
//
// Between two TCP connections on Linux the bytes stay in the kernel: they go
// through a pipe by splice(2). That takes two conns that are [net.TCPConn]
// themselves: wrappers, which may hold bytes of their own, are not looked into.
// Any other [net.Conn] is copied through a buffer.
//
// A [tls.Conn] on TCP is copied, too, but watched and asked like TCP, by the socket
// below it. Its handshake is done before, and it is made on [Batch]. Its EOF is
// close_notify, which goes out before each FIN of ours (RFC 8446 §6.1).
//
// # States of a Copy
//
//	moving     from Run on: bytes flow. Both conns are watched, also in the
//	           directions that carry nothing, so that a reset is seen at once.
//	delivering the source's EOF was read and every byte was handed to the
//	           destination's kernel: the destination is half-closed, the source
//	           is closed, and Run waits for the destination's acknowledgement.
//	succeeded  every payload byte is acknowledged. Run returns without error;
//	           Finish waits for the destination's close_notify or FIN and
//	           closes it.
//	failed     an abort: also a fatal alert, a record that cannot be read, or an
//	           end in the middle of one. Both conns were reset (SO_LINGER 0,
//	           no close_notify), so that neither peer mistakes a part for the
//	           whole (RFC 959 §3.3 cannot tell).
//
// moving leads to delivering or failed, delivering to succeeded or failed.
// The first failure counts; what it breaks elsewhere is not looked at.
package splice

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Side says which conn of a copy failed.
type Side int

// None is the side of a success and of a cancelled context.
const (
	None Side = iota
	Source
	Destination
)

// String returns the side in lower case, for logs.
func (s Side) String() string {
	switch s {
	case Source:
		return "source"
	case Destination:
		return "destination"
	}
	return "none"
}

// Errors of a [Result], beside the cause of a context and errors of the system.
var (
	// ErrReset means that the peer aborted the connection, or that it closed
	// it before it had acknowledged everything.
	ErrReset = errors.New("connection aborted")
	// ErrStalled means that no byte moved for Options.Stall.
	ErrStalled = errors.New("transfer stalled")
	// ErrTruncated means that a TLS source sent FIN without close_notify: in the
	// middle of a record, or anywhere if Options.StrictEOF asks for close_notify.
	ErrTruncated = errors.New("connection closed without close_notify")
)

// Options of a [Copy]. The zero value is usable.
type Options struct {
	// Stall is how long a transfer may live without any byte moving: read
	// from the source, handed to the destination or acknowledged by it.
	// A stall is noticed between 1 and 1.25 times Stall, later if SetRate set
	// so low a rate that packets are further apart. 0 means never.
	Stall time.Duration
	// StrictEOF makes a source that is TLS end with close_notify: a FIN alone is
	// an abort. Otherwise it counts as EOF, because servers exist that never
	// send close_notify (IIS).
	StrictEOF bool
	// Go runs a function on a goroutine of its own and does not wait for it.
	// nil is a new goroutine.
	Go func(func())
}

// Result is how a [Copy] ended.
type Result struct {
	// Bytes is the payload handed to the destination.
	Bytes int64
	// Failed is the conn whose own read, write or state failed. It is None on
	// success and when the context ended.
	Failed Side
	// Err is nil when every payload byte was delivered and, to a destination that
	// is TCP or TLS on TCP, acknowledged. Otherwise it wraps ErrReset, ErrStalled
	// or ErrTruncated, is the context's cause, or wraps another error of the
	// system or of TLS.
	Err error
}

// A Copy moves one direction of payload from source to destination, and
// watches both conns. Run and Finish are called once, one after the other;
// the other methods may be called at any time.
type Copy struct {
	destination, source leg
	options             Options
	grace               time.Duration // finGrace, but for tests
	farewell            time.Duration // farewell, but for tests

	read, written   atomic.Int64  // payload bytes taken from the source, handed to the destination
	spliced         atomic.Int64  // the part of written that never was in user space
	acked           atomic.Int64  // the part of written that Acked has returned
	rate            atomic.Int64  // of SetRate
	ended           atomic.Bool   // EOF of the source was read and everything handed over
	truncated       atomic.Bool   // the source's EOF was a FIN without close_notify
	fin, gone       atomic.Bool   // the destination sent FIN; it hung up altogether
	changed         chan struct{} // holds one token after fin or gone changed
	watched         chan struct{} // closed when watchDestination has ended
	aborted         chan struct{} // closed with the first failure
	stalls, armings alarm

	mu      sync.Mutex // guards what follows
	running bool
	settled bool // success or failure is decided
	failed  Side
	err     error
	blocked bool // the copy waits for the destination to take bytes
	parked  bool // watchSource runs, or has nothing more to learn

	// sourceMu is held while watchSource takes the source's SO_ERROR, which
	// turns the reset that a read would have reported into an EOF.
	sourceMu    sync.Mutex
	sourceError error

	// strayMu is held while watchDestination takes bytes from a plain socket, so
	// that none are missed between the socket and the count.
	strayMu sync.Mutex
	stray   int64 // bytes the destination sent, discarded
}

// New returns a Copy that has taken over both conns: Run and Finish close
// them. Deadlines set on them are removed.
func New(destination, source net.Conn, o Options) *Copy {
	if o.Go == nil {
		o.Go = func(f func()) { go f() }
	}
	return &Copy{
		destination: newLeg(destination),
		source:      newLeg(source),
		options:     o,
		grace:       finGrace,
		farewell:    farewell,
		changed:     make(chan struct{}, 1),
		watched:     make(chan struct{}),
		aborted:     make(chan struct{}),
	}
}

// Bytes returns the payload bytes handed to the destination so far; for TCP
// that is to its kernel, not yet to its peer.
func (c *Copy) Bytes() int64 { return c.written.Load() }

// Spliced returns the part of Bytes that was moved by splice(2).
func (c *Copy) Spliced() int64 { return c.spliced.Load() }

// Ended reports whether all that the source sends is here: its EOF was read, or
// waits in its kernel's receive queue after the rest. The source may then be
// gone without loss.
func (c *Copy) Ended() bool { return c.ended.Load() || c.source.finReceived() }

// Truncated reports whether the source is TLS and sent FIN without close_notify, so
// that nobody knows whether it sent all (RFC 8446 §6.1).
func (c *Copy) Truncated() bool { return c.truncated.Load() }

// Stray returns the bytes that the destination sent against the direction of
// the transfer. They are discarded. Of TCP all that have arrived are counted, of
// other conns those that were read, which may be fewer for a moment: Run does not
// wait for them.
func (c *Copy) Stray() int64 {
	c.strayMu.Lock()
	defer c.strayMu.Unlock()
	return c.stray + int64(c.destination.unread())
}

func (c *Copy) addStray(n int) {
	c.strayMu.Lock()
	defer c.strayMu.Unlock()
	c.stray += int64(n)
}

// Run moves the payload until the source's EOF and returns when all of it is
// acknowledged by the destination's kernel; then the source is closed and the
// destination is half-closed, to be closed by Finish. When anything fails, or
// ctx ends, it resets both conns and returns why.
func (c *Copy) Run(ctx context.Context) Result {
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
	c.source.conn.SetDeadline(time.Time{})
	c.destination.conn.SetDeadline(time.Time{})

	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.fail(None, context.Cause(ctx))
		close(cancelled)
	})
	c.options.Go(c.watchDestination)
	c.startStallTicks()

	side, err := c.move()
	if err == nil {
		side, err = c.deliver()
	}
	if err != nil {
		c.fail(side, err)
	}
	r := c.settle()

	if !stop() {
		<-cancelled
	}
	c.stalls.stop()
	c.armings.stop()
	if r.Err != nil {
		<-c.watched
	}
	return r
}

// Finish ends a copy that succeeded: it waits for the destination's FIN, at
// most linger and no longer than ctx, discarding what else arrives (bytes left
// unread would turn the close into a reset and destroy the tail), and closes the
// destination. TLS says close_notify, which is waited for no longer than 2 s.
// After a failure it does nothing. Without it a success leaks the destination.
func (c *Copy) Finish(ctx context.Context, linger time.Duration) {
	c.mu.Lock()
	running, failed := c.running, c.err != nil
	c.mu.Unlock()
	if failed {
		return
	}
	if !running {
		c.source.conn.Close()
		c.destination.conn.Close()
		return
	}
	if c.destination.tls != nil {
		linger = min(linger, c.farewell)
	}
	c.awaitHangup(ctx, linger)
	c.destination.close()
	<-c.watched
}
