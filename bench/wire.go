//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// A control is one end of a control connection.
type control struct {
	t    *task
	fd   int
	tls  *secured // nil: in the clear
	r, w int
	buf  [512]byte
}

var errLongLine = errors.New("line too long")

// line reads a line, without its CRLF; it is valid until the next read. Without
// wait it returns nil when there is no whole line yet.
func (c *control) line(wait bool) ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.r:c.w], '\n'); i >= 0 {
			line := c.buf[c.r : c.r+i]
			c.r += i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		c.w = copy(c.buf[:], c.buf[c.r:c.w])
		c.r = 0
		if c.w == len(c.buf) {
			return nil, errLongLine
		}
		n, err := c.read(c.buf[c.w:])
		switch {
		case n > 0:
			c.w += n
		case err == nil:
			return nil, io.EOF
		case err != unix.EAGAIN && err != unix.EINTR:
			return nil, fmt.Errorf("read: %w", err)
		case err == unix.EINTR:
		case !wait:
			return nil, nil
		default:
			if err := c.t.wait(); err != nil {
				return nil, err
			}
		}
	}
}

// gone reports whether the other end has closed, without reading.
func (c *control) gone() bool {
	var one [1]byte
	n, _, err := unix.Recvfrom(c.fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EINTR
}

func (c *control) read(b []byte) (int, error) {
	if c.tls != nil {
		return c.tls.read(b)
	}
	return unix.Read(c.fd, b)
}

func (c *control) write(text []byte) error {
	if c.tls != nil {
		_, err := c.tls.Write(text)
		return err
	}
	return c.put(c.fd, text)
}

// put writes bytes as they are to one of the task's descriptors.
func (c *control) put(fd int, text []byte) error {
	for len(text) > 0 {
		n, err := unix.Write(fd, text)
		switch {
		case n > 0:
			text = text[n:]
		case err == unix.EAGAIN:
			if err := c.t.wait(); err != nil {
				return err
			}
		case err != unix.EINTR:
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// socket makes a socket that waits for nothing and delays nothing, at an address
// of this machine unless that is zero.
func socket(from [4]byte) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil && from != [4]byte{} {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: from})
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("socket: %w", err)
	}
	return fd, nil
}

// listen makes a listening socket; port 0 is any.
func listen(at [4]byte, port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: at, Port: port})
	}
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen: %w", err)
	}
	return fd, nil
}

// dial begins a connection. Reads and writes say EAGAIN until it is there.
func (t *task) dial(from [4]byte, to *unix.SockaddrInet4) (int, error) {
	fd, err := socket(from)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	if err := t.loop.add(fd, t); err != nil {
		t.loop.drop(fd)
		return -1, err
	}
	return fd, nil
}

// accept takes a connection from a listener; without one it returns EAGAIN.
func (t *task) accept(listener int) (int, error) {
	fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, err
	}
	if err := t.loop.add(fd, t); err != nil {
		t.loop.drop(fd)
		return -1, err
	}
	return fd, nil
}

// A stream is a data connection, in the clear or with TLS. Both methods return
// EAGAIN when it takes or gives nothing now.
type stream interface {
	send(n int64, most int) (int64, error) // up to n bytes, and no more than most
	discard(most int) (int64, error)       // io.EOF at the end
}

// A plain is a data connection in the clear.
type plain struct {
	fd      int
	payload payload
}

func (p *plain) send(n int64, most int) (int64, error) { return p.payload.send(p.fd, n, most) }

func (p *plain) discard(most int) (int64, error) { return discard(p.fd, most) }

// discard takes up to most bytes off a connection without copying them. It returns 0 and
// io.EOF at the end, and EAGAIN when there is nothing.
func discard(fd int, most int) (int64, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), 0, uintptr(most), unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EINTR:
		return 0, unix.EAGAIN
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return int64(n), nil
}

// A payload is a file in memory, which every byte that is sent comes from.
type payload struct{ fd int }

const payloadSize = 8 << 20

func newPayload() (payload, error) {
	fd, err := unix.MemfdCreate("payload", unix.MFD_CLOEXEC)
	if err != nil {
		return payload{}, fmt.Errorf("memfd: %w", err)
	}
	chunk := bytes.Repeat([]byte("ftproxy "), 1<<17)
	for at := int64(0); at < payloadSize; at += int64(len(chunk)) {
		if _, err := unix.Pwrite(fd, chunk, at); err != nil {
			unix.Close(fd)
			return payload{}, fmt.Errorf("memfd: %w", err)
		}
	}
	return payload{fd}, nil
}

func (p payload) close() { unix.Close(p.fd) }

// send puts up to n bytes, and no more than most, onto a connection. It returns EAGAIN when the
// connection takes nothing.
func (p payload) send(fd int, n int64, most int) (int64, error) {
	offset := int64(0)
	sent, err := unix.Sendfile(fd, p.fd, &offset, int(min(n, int64(most))))
	if sent > 0 {
		return int64(sent), nil
	}
	if err == unix.EINTR {
		err = unix.EAGAIN
	}
	return 0, err
}
