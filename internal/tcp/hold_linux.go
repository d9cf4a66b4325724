package tcp

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// Hold keeps a connection open for its peer while it is closed here. The peer sees the
// end, or the reset, only when release is called, which is safe to repeat. A connection
// that cannot be held ends when it is closed, and release does nothing.
func Hold(conn net.Conn) (release func()) {
	held := -1
	err := ask(conn, func(fd int) (err error) {
		held, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return func() {}
	}
	return sync.OnceFunc(func() { _ = unix.Close(held) })
}
