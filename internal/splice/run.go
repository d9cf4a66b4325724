package splice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"ftproxy/internal/tcp"
)

const (
	ackPollFirst = 100 * time.Microsecond // first wait for an acknowledgement; doubles
	ackPollMax   = 50 * time.Millisecond

	// finGrace is how long a destination that sent its FIN while bytes were
	// unacknowledged may go on without acknowledging any. One that has closed
	// answers the bytes in flight with a reset, well before that; one that has
	// only half-closed acknowledges them.
	finGrace = time.Second

	// farewell is how long a destination's close_notify is waited for.
	farewell = 2 * time.Second
)

// fail records the first failure and resets both conns, which ends whatever
// still blocks on them. It must not be called inside a RawConn callback, as
// Close waits for those.
func (c *Copy) fail(side Side, err error) {
	c.mu.Lock()
	if c.settled {
		c.mu.Unlock()
		return
	}
	c.settled = true
	c.failed, c.err = side, err
	close(c.aborted)
	c.mu.Unlock()
	tcp.Reset(c.destination.conn)
	tcp.Reset(c.source.conn)
}

// settle returns the recorded failure, or makes the copy a success, which a
// failure that comes later does not touch.
func (c *Copy) settle() Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = true
	return Result{Bytes: c.written.Load(), Failed: c.failed, Err: c.err}
}

// deliver passes the source's EOF on and waits until the destination's kernel
// has acknowledged every payload byte.
func (c *Copy) deliver() (Side, error) {
	c.ended.Store(true)
	early := c.fin.Load()
	c.source.close() // its FIN goes out; proftpd lingers for it
	// Our FIN takes one number of the sequence, unless a reset came before it.
	own, shutdown := c.destination.closeWrite()
	if !c.destination.kernel() {
		return Destination, shutdown
	}
	var (
		delay  = ackPollFirst
		timer  *time.Timer
		last   = -1
		half   bool          // the destination has half-closed
		waited time.Duration // for it to move since then, in delays: while we were stopped ourselves we did not wait
	)
	for {
		gone, fin := c.gone.Load(), c.fin.Load() // before the count, which a reset freezes
		n, err := tcp.Unacknowledged(c.destination.tcp)
		if err != nil {
			return Destination, err
		}
		if n <= own {
			return None, nil
		}
		if gone {
			return Destination, fmt.Errorf("%w with %d bytes unacknowledged", ErrReset, n-own)
		}
		if fin && !early {
			if n != last || !half {
				half, waited = true, 0
			} else if waited > max(c.grace, c.lull()) {
				return Destination, fmt.Errorf("%w: closed with %d bytes unacknowledged", ErrReset, n-own)
			}
		}
		last = n

		if timer == nil {
			timer = time.NewTimer(delay)
			defer timer.Stop()
		} else {
			timer.Reset(delay)
		}
		select {
		case <-timer.C:
			waited += delay
			delay = min(2*delay, ackPollMax)
		case <-c.changed:
		case <-c.aborted:
			return None, net.ErrClosed // fail has recorded why
		}
	}
}

// destinationFIN notes that the destination will send no more.
func (c *Copy) destinationFIN() {
	c.fin.Store(true)
	c.notify()
}

// destinationGone notes that the destination hung up. Before the source's EOF
// that is an abort; later it only ends the wait for acknowledgement.
func (c *Copy) destinationGone(err error) {
	c.gone.Store(true)
	c.notify()
	if !c.ended.Load() {
		c.fail(Destination, resetError(err))
	}
}

func (c *Copy) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// awaitHangup waits until the destination has sent its FIN or hung up, at most
// for the time given and no longer than ctx.
func (c *Copy) awaitHangup(ctx context.Context, linger time.Duration) {
	if linger <= 0 || c.fin.Load() || c.gone.Load() {
		return
	}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case <-c.changed:
			if c.fin.Load() || c.gone.Load() {
				return
			}
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// sourceEnd decides what the error is with which reading from the source ended:
// nil if it was its EOF.
func (c *Copy) sourceEnd(err error) error {
	overTLS := c.source.tls != nil
	cut := overTLS && err == io.ErrUnexpectedEOF // in the middle of a record
	if err != io.EOF && !cut {
		return resetError(err)
	}
	if err := c.sourceEOF(); err != nil {
		return err
	}
	if !cut && (c.source.batch == nil || !c.source.batch.eof) {
		return nil
	}
	c.truncated.Store(true)
	if cut || c.options.StrictEOF {
		return ErrTruncated
	}
	return nil
}

// sourceEOF decides whether an EOF that was read from the source is one: after
// watchSource took the error of a reset, a read reports EOF instead.
func (c *Copy) sourceEOF() error {
	c.sourceMu.Lock()
	defer c.sourceMu.Unlock()
	return c.sourceError
}

// resetError makes the many errors of an aborted connection wrap ErrReset.
func resetError(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrReset):
		return err
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w: %w", ErrReset, err)
	}
	return err
}

// ofSocket tells the errors of the connection below TLS from its own.
func ofSocket(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) || errors.Is(err, net.ErrClosed)
}
