package splice

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// errNoSplice means that nothing was moved, because there is no pipe to be had
// or the kernel cannot splice these sockets.
var errNoSplice = errors.New("splice not possible")

// mostSpliced is how many bytes one splice(2) is asked to move; the pipe's
// size bounds it further.
const mostSpliced = 1 << 20

// A mover is the state of one splice loop. The callbacks of RawConn leave
// their outcome in n and err.
type mover struct {
	c       *Copy
	pipe    *pipe
	n       int
	err     error
	blocked bool // the destination took no more in this round
	rest    [512]byte
}

// moveSpliced moves bytes from the source into a pipe and from there to the
// destination, until the source's EOF. The pipe is empty whenever the source
// is waited for.
func (c *Copy) moveSpliced() (Side, error) {
	p, err := pipes.get()
	if err != nil {
		return None, errNoSplice
	}
	defer pipes.put(p)
	m := &mover{c: c, pipe: p}
	fill, drain := m.fill, m.drain
	for first := true; ; first = false {
		if err := c.source.raw.Read(fill); err != nil {
			return Source, err
		}
		switch {
		case m.err == unix.EINVAL && first:
			return None, errNoSplice
		case m.err != nil:
			return Source, m.err
		case m.n == 0:
			if done, side, err := m.readPlain(); done {
				return side, err
			}
			continue
		}
		filled := m.n
		p.data += filled
		c.read.Add(int64(filled))
		err := c.destination.raw.Write(drain)
		if m.blocked {
			m.blocked = false
			c.unblock()
		}
		if err != nil {
			return Destination, err
		}
		if m.err != nil {
			return Destination, m.err
		}
		pipes.fit(p, filled)
	}
}

// fill is called until the source has something for the pipe.
func (m *mover) fill(fd uintptr) bool {
	for {
		n, err := unix.Splice(int(fd), nil, m.pipe.w, nil, mostSpliced, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			// Splice stops at an urgent byte for good; a plain read passes it.
			if poll(fd, unix.POLLPRI)&unix.POLLPRI == 0 {
				return false
			}
			n, err = 0, nil
		}
		m.n, m.err = int(n), err
		return true
	}
}

// drain is called until the pipe is empty.
func (m *mover) drain(fd uintptr) bool {
	m.err = nil
	for m.pipe.data > 0 {
		n, err := unix.Splice(m.pipe.r, nil, int(fd), nil, m.pipe.data, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if !m.blocked {
				m.blocked = true
				m.c.block()
			}
			return false
		case err != nil:
			m.err = err
			return true
		default:
			m.pipe.data -= int(n)
			m.c.written.Add(int64(n)) // 32-bit systems return an int
			m.c.spliced.Add(int64(n))
		}
	}
	return true
}

// readPlain reads without splice where splice says that there is no more: at
// the EOF, and at an urgent byte, which splice(2) takes for one.
func (m *mover) readPlain() (done bool, side Side, err error) {
	n, err := m.c.source.conn.Read(m.rest[:])
	if err == io.EOF {
		return true, Source, m.c.sourceEOF()
	}
	if err != nil {
		return true, Source, err
	}
	m.c.read.Add(int64(n))
	if err := m.c.writeBuffered(m.rest[:n]); err != nil {
		return true, Destination, err
	}
	return false, None, nil
}
