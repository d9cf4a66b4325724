package proxy

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A data port that was used a thousand times in the last minute has a thousand
// connections in TIME_WAIT, and bind(2) looks at each of them, unless they and
// the new socket have SO_REUSEPORT: a fifth of what a small transfer costs. But
// that option lets another process of the same user listen on the port at the same
// time and get our connections. So it is for one ftproxy in a network namespace,
// the first, which holds an abstract Unix socket as a sign; where only one of two
// sockets has the option, the kernel keeps them apart as ever.
const firstSign = "@ftproxy-data-ports"

// first tells whether this process is the first ftproxy of its network namespace.
var first = sync.OnceValue(func() bool { return holdSign(firstSign) })

// takeSign settles that at the start rather than at the first data port.
func takeSign() { first() }

// holdSign takes an abstract name until the process ends, if nobody has it.
func holdSign(name string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if unix.Bind(fd, &unix.SockaddrUnix{Name: name}) != nil {
		_ = unix.Close(fd)
		return false
	}
	return true
}

// dataSocket prepares the socket of a data port.
func dataSocket(_, _ string, c syscall.RawConn) error {
	if !first() {
		return nil
	}
	return c.Control(func(fd uintptr) {
		// Without it the port only costs more.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
}
