package ftptest

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Conn is one end of a connection. It does what a TCP connection on Linux
// does, with these simplifications: written bytes are at once in the peer's
// receive buffer, or the write waits; so all that Write has returned for is
// acknowledged. A write to a peer that has closed fails at once, where
// Linux fails only the next one, and a reset that was reported by Read is
// reported by every later Read.
type Conn struct {
	host          *Host
	peer          *Conn
	local, remote netip.AddrPort
	wake          *sync.Cond // on the network's mutex; shared with peer

	in      stream // what peer has sent
	closed  bool   // by Close
	sentFIN bool   // by CloseWrite or Close
	reset   bool   // the peer's RST came
	told    bool   // Read or Write has reported the reset
	writing bool   // a Write is under way; others wait their turn
	linger  int    // as SetLinger; negative is the default

	readDeadline, writeDeadline deadline
}

// A stream is one direction of a connection, at its receiving end.
type stream struct {
	buf    []byte   // received, not yet read
	limit  int      // of buf
	fin    bool     // the sender will send no more
	total  int64    // bytes received in all
	marks  []int64  // total after each Write
	urgent [][]byte // what each WriteUrgent sent
}

// newPair returns the two ends of a new connection.
func newPair(from, to *Host, local, remote netip.AddrPort, buffer int) (dialled, accepted *Conn) {
	wake := sync.NewCond(&from.network.mu)
	dialled = &Conn{host: from, local: local, remote: remote, wake: wake, linger: -1, in: stream{limit: buffer}}
	accepted = &Conn{host: to, local: remote, remote: local, wake: wake, linger: -1, in: stream{limit: buffer}}
	dialled.peer, accepted.peer = accepted, dialled
	return dialled, accepted
}

// Read reads what the peer has sent. What came before a reset can still be
// read; then the error wraps syscall.ECONNRESET. After an orderly end it is
// io.EOF, even if a reset followed.
func (c *Conn) Read(p []byte) (int, error) { return c.receive(p, true) }

// Peek is Read as recv(2) does it with MSG_PEEK: the bytes stay to be read.
func (c *Conn) Peek(p []byte) (int, error) { return c.receive(p, false) }

// Unread returns how many bytes have been received that are still to be read.
func (c *Conn) Unread() int {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	return len(c.in.buf)
}

func (c *Conn) receive(p []byte, take bool) (int, error) {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.failed("read", net.ErrClosed)
		case len(p) == 0:
			return 0, nil
		case c.readDeadline.passed():
			return 0, c.failed("read", os.ErrDeadlineExceeded)
		case len(c.in.buf) > 0:
			n := copy(p, c.in.buf)
			if take {
				c.in.buf = c.in.buf[n:]
				c.wake.Broadcast()
			}
			return n, nil
		case c.in.fin:
			return 0, io.EOF
		case c.reset:
			c.told = true
			return 0, c.failed("read", os.NewSyscallError("read", syscall.ECONNRESET))
		}
		c.wake.Wait()
	}
}

// Write sends b and returns when all of it is in the peer's receive buffer.
// The error wraps syscall.ECONNRESET after a reset nobody has been told of
// yet, and syscall.EPIPE after one that was reported, after the peer's Close
// or after CloseWrite.
func (c *Conn) Write(b []byte) (int, error) { return c.send(b, false) }

// WriteUrgent sends b as send(2) with MSG_OOB does. The peer finds the bytes
// in line, as with SO_OOBINLINE, and in Urgent.
func (c *Conn) WriteUrgent(b []byte) (int, error) { return c.send(b, true) }

func (c *Conn) send(b []byte, urgent bool) (int, error) {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	for c.writing { // What ends the other Write ends this one, too.
		c.wake.Wait()
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.peer.in.marks = append(c.peer.in.marks, c.peer.in.total)
		c.wake.Broadcast()
	}()
	in, sent := &c.peer.in, 0
	for {
		if err := c.sendable(); err != nil {
			return sent, err
		}
		if room := in.limit - len(in.buf); room > 0 {
			n := min(room, len(b)-sent)
			in.buf = append(in.buf, b[sent:sent+n]...)
			in.total += int64(n)
			sent += n
			c.wake.Broadcast()
		}
		if sent == len(b) {
			if urgent {
				in.urgent = append(in.urgent, slices.Clone(b))
			}
			return sent, nil
		}
		c.wake.Wait()
	}
}

// sendable returns why c cannot send, if it cannot.
func (c *Conn) sendable() error {
	switch {
	case c.closed:
		return c.failed("write", net.ErrClosed)
	case c.writeDeadline.passed():
		return c.failed("write", os.ErrDeadlineExceeded)
	case c.reset && !c.told && !c.in.fin:
		c.told = true
		return c.failed("write", os.NewSyscallError("write", syscall.ECONNRESET))
	case c.reset, c.peer.closed, c.sentFIN:
		return c.failed("write", os.NewSyscallError("write", syscall.EPIPE))
	}
	return nil
}

// Close closes both directions. The peer reads what was sent and then io.EOF,
// unless received bytes were left unread here or SetLinger(0) was called: then
// the peer sees a reset.
func (c *Conn) Close() error {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.shut()
	return nil
}

// shut is Close with the lock held.
func (c *Conn) shut() {
	c.closed = true
	c.readDeadline.stop()
	c.writeDeadline.stop()
	if (c.linger == 0 || len(c.in.buf) > 0) && !c.reset {
		c.peer.reset = true
	} else if !c.reset {
		c.sentFIN, c.peer.in.fin = true, true
	}
	c.in.buf = nil
	delete(c.host.open, c)
	c.wake.Broadcast()
}

// CloseWrite ends the sending direction: the peer reads what was sent and then
// io.EOF. The error wraps syscall.ENOTCONN after a reset.
func (c *Conn) CloseWrite() error {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	switch {
	case c.closed:
		return c.failed("close", net.ErrClosed)
	case c.reset:
		return c.failed("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	c.sentFIN, c.peer.in.fin = true, true
	c.wake.Broadcast()
	return nil
}

// SetLinger makes Close a reset when sec is 0. Other values change nothing.
func (c *Conn) SetLinger(sec int) error {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	c.linger = sec
	return nil
}

// SetReadBuffer sets how many unread bytes c holds before its peer's writes
// wait. Values below 1 count as 1.
func (c *Conn) SetReadBuffer(bytes int) error {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	c.in.limit = max(bytes, 1)
	c.wake.Broadcast()
	return nil
}

// Urgent returns the bytes of each WriteUrgent that c has received.
func (c *Conn) Urgent() [][]byte {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	return slices.Clone(c.in.urgent)
}

// inOnePiece reports whether the received bytes from to to, counted from the
// connection's beginning, were sent by one Write.
func (c *Conn) inOnePiece(from, to int64) bool {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	return !slices.ContainsFunc(c.in.marks, func(m int64) bool { return from < m && m < to })
}

// LocalAddr returns a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadline(t, &c.readDeadline, &c.writeDeadline)
}

// SetReadDeadline bounds Read as net.Conn says.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, &c.readDeadline) }

// SetWriteDeadline bounds Write as net.Conn says.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, &c.writeDeadline) }

func (c *Conn) setDeadline(t time.Time, deadlines ...*deadline) error {
	c.wake.L.Lock()
	defer c.wake.L.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	for _, d := range deadlines {
		d.set(t, c.wake)
	}
	return nil
}

func (c *Conn) String() string { return fmt.Sprintf("connection %v to %v", c.local, c.remote) }

func (c *Conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
