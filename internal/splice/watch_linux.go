package splice

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"ftproxy/internal/tcp"
)

func rawConn(c *net.TCPConn) syscall.RawConn {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// discard reads what has arrived on a socket into nothing: for TCP that is
// what MSG_TRUNC means (tcp(7)). It never blocks.
func discard(fd uintptr) (int, error) {
	const most = 1 << 20
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, 0, most, unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// drain discards what has arrived, but for a peer that sends without end.
func (l leg) drain() {
	_ = l.raw.Control(func(fd uintptr) {
		for range 16 {
			if n, err := discard(fd); n == 0 || err != nil {
				return
			}
		}
	})
}

// awaitData waits until there is something to read, or the connection is over.
func (l leg) awaitData() {
	_ = l.raw.Read(func(fd uintptr) bool { return poll(fd, unix.POLLIN) != 0 })
}

// awaitRoom waits until the kernel has room for some bytes, or the connection is
// over.
func (l leg) awaitRoom() {
	if l.raw != nil {
		_ = l.raw.Write(room)
	}
}

// hasRoom is awaitRoom for those who do not wait.
func (l leg) hasRoom() (has bool) {
	_ = l.raw.Control(func(fd uintptr) { has = room(fd) })
	return has
}

func room(fd uintptr) bool {
	return poll(fd, unix.POLLOUT)&(unix.POLLOUT|unix.POLLHUP|unix.POLLERR) != 0
}

// poll returns which of the events, or hang-up and error, are pending. It does
// not consume the socket's error as SO_ERROR does. Where poll(2) itself is refused,
// as without any descriptor left, all of them are said to be: what they allow finds
// out.
func poll(fd uintptr, events int16) int16 {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err := unix.Poll(p[:], 0)
		switch err {
		case nil:
			return p[0].Revents
		case unix.EINTR:
		default:
			return events
		}
	}
}

// watchDestination discards what the destination sends, which keeps its
// receive queue empty, and wakes on its FIN and on its reset. It ends when the
// destination hung up or was closed. TLS reads its records itself, because there
// are session tickets among them; after its end only the socket is watched.
func (c *Copy) watchDestination() {
	defer close(c.watched)
	if !c.destination.plain() && (!c.watchConn() || !c.destination.kernel()) {
		return
	}
	var (
		n     int
		err   error
		ended bool // FIN was read: reading goes on returning 0, only a reset can come
	)
	look := func(fd uintptr) bool {
		if ended {
			n, err = 0, unix.ECONNRESET
			return tcp.Over(c.destination.tcp)
		}
		c.strayMu.Lock()
		defer c.strayMu.Unlock()
		n, err = discard(fd)
		c.stray += int64(n)
		return err != unix.EAGAIN
	}
	for {
		if c.destination.raw.Read(look) != nil {
			return // closed by us
		}
		switch {
		case err != nil:
			c.destinationGone(err)
			return
		case n == 0:
			ended = true
			c.destinationFIN()
		}
	}
}

// watchSource parks on the outgoing direction of the source, which carries
// nothing, while the copy is blocked writing: a reset wakes it, and so do
// arriving bytes, which it ignores. Nobody else can write meanwhile.
func (c *Copy) watchSource() (again bool) {
	c.mu.Lock()
	if c.parked || !c.blocked {
		c.mu.Unlock()
		return false
	}
	c.parked = true
	c.mu.Unlock()

	var hungUp bool
	err := c.source.raw.Write(func(fd uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.blocked {
			c.parked = false
			return true
		}
		hungUp = poll(fd, 0)&(unix.POLLHUP|unix.POLLERR) != 0
		return hungUp
	})
	if err != nil || !hungUp {
		return false
	}
	if err := c.takeSourceError(); err != nil {
		c.fail(Source, err)
	}
	return false
}

// takeSourceError returns the reset that ended the source, or nil if the
// source had sent its FIN before: then what it sent is whole, and EPIPE is what
// the kernel makes of the reset.
func (c *Copy) takeSourceError() error {
	c.sourceMu.Lock()
	defer c.sourceMu.Unlock()
	var (
		errno int
		err   error
	)
	if cerr := c.source.raw.Control(func(fd uintptr) {
		errno, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	}); cerr != nil || err != nil {
		return nil // closed meanwhile
	}
	switch e := syscall.Errno(errno); e {
	case 0, unix.EPIPE:
		return nil
	default:
		c.sourceError = resetError(e)
		return c.sourceError
	}
}

// move picks the way for the payload.
func (c *Copy) move() (Side, error) {
	if !c.source.plain() || !c.destination.plain() {
		return c.moveBuffered()
	}
	side, err := c.moveSpliced()
	if errors.Is(err, errNoSplice) {
		return c.moveBuffered()
	}
	return side, resetError(err)
}
