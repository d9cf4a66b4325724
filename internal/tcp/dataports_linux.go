package tcp

import (
	"net"
	"os"
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
func dataSocket(_, _ string, raw syscall.RawConn) error {
	if first() {
		_ = setInt(raw, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // Without it the port only costs more.
	}
	return nil
}

// A dataListener can be asked for what is in its queue.
type dataListener struct{ *net.TCPListener }

// Queued accepts what is in the queue, without waiting.
func (l dataListener) Queued() (conns []net.Conn) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		for {
			accepted, _, err := unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err == unix.EINTR || err == unix.ECONNABORTED {
				continue
			}
			if err != nil {
				return // No more, or no descriptor: closing resets the rest.
			}
			file := os.NewFile(uintptr(accepted), "")
			conn, err := net.FileConn(file)
			_ = file.Close()
			if err != nil {
				continue
			}
			if socket, ok := conn.(*net.TCPConn); ok {
				_ = socket.SetKeepAliveConfig(keepAlive)
			}
			conns = append(conns, conn)
		}
	})
	return conns
}
