package tcp

import (
	"encoding/binary"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Peek waits for the first byte that the connection receives, or for its end, and
// leaves the byte to be read. It returns nil where a byte is there, [io.EOF] after a
// FIN, and the read deadline's error after that. A connection that cannot tell is taken
// to have a byte.
func Peek(conn net.Conn) error {
	var b [1]byte
	conn = Underlying(conn)
	if p, ok := conn.(interface{ Peek([]byte) (int, error) }); ok {
		_, err := p.Peek(b[:])
		return err
	}
	socket, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return false
		case err == nil && n == 0:
			failed = io.EOF
		default:
			failed = err
		}
		return true
	})
	if err != nil {
		return err
	}
	return failed
}

// Unread returns how many bytes the kernel holds that the peer sent and nobody has
// read; those of TLS count as they came. It is 0 where that is not known.
func Unread(conn net.Conn) int {
	conn = Underlying(conn)
	if c, ok := conn.(interface{ Unread() int }); ok {
		return c.Unread()
	}
	n, _ := inquire(conn, unread)
	return int(max(n, 0))
}

func unread(fd int) (int64, error) {
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return int64(n), err
}

// Unacknowledged returns how many of the bytes that were written the peer's kernel has
// not confirmed, our FIN counted as one. After a reset it keeps its value. The error is
// [net.ErrClosed] after our Close, and wraps [errors.ErrUnsupported] where the
// connection cannot tell.
func Unacknowledged(conn net.Conn) (int, error) {
	waiting, err := inquire(conn, unacknowledged)
	return int(waiting), err
}

func unacknowledged(fd int) (int64, error) {
	n, err := unix.IoctlGetUint32(fd, unix.SIOCOUTQ)
	return int64(n), err
}

// FINReceived tells whether the peer has ended its stream, which nobody may have read
// yet. It is false after a reset, after both ends were closed, and where it is not
// known.
func FINReceived(conn net.Conn) bool { return stateOf(conn) == unix.BPF_TCP_CLOSE_WAIT }

// Over tells whether the connection is over in the kernel, which nobody may have read
// yet: the peer has reset it, or both ends have closed it. It is false where that is
// not known.
func Over(conn net.Conn) bool { return stateOf(conn) == unix.BPF_TCP_CLOSE }

// Ended tells whether FINReceived or Over is true, and asks the kernel once.
func Ended(conn net.Conn) bool {
	s := stateOf(conn)
	return s == unix.BPF_TCP_CLOSE_WAIT || s == unix.BPF_TCP_CLOSE
}

// stateOf is the state of a TCP connection, 0 of any other.
func stateOf(conn net.Conn) uint8 {
	s, _ := inquire(conn, state)
	return uint8(s)
}

// state asks for the first four bytes of TCP_INFO, of which the first is the state: the
// whole of it would be allocated for each of these questions.
func state(fd int) (int64, error) {
	head, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, err
	}
	var bytes [4]byte
	binary.NativeEndian.PutUint32(bytes[:], uint32(head))
	return int64(bytes[0]), nil
}

// acknowledgeAtOnce makes the kernel acknowledge the next bytes that come without
// delay.
func acknowledgeAtOnce(socket *net.TCPConn) {
	if raw, err := socket.SyscallConn(); err == nil {
		_ = setInt(raw, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) // Without it, it only takes longer.
	}
}
