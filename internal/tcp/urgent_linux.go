package tcp

import (
	"net"

	"golang.org/x/sys/unix"
)

// WriteUrgent sends b with its last byte as TCP urgent data, as Telnet's synch
// wants it (RFC 959 §4.1.3). BSD's ftpd looks at ABOR during a transfer only
// after such a signal. On a connection that knows no urgent data, such as TLS, b goes
// in line. The write deadline bounds it.
func WriteUrgent(conn net.Conn, b []byte) error {
	if u, ok := conn.(interface{ WriteUrgent([]byte) (int, error) }); ok {
		_, err := u.WriteUrgent(b)
		return err
	}
	socket, ok := conn.(*net.TCPConn)
	if !ok {
		_, err := conn.Write(b)
		return err
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			n, err := unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_OOB|unix.MSG_NOSIGNAL)
			switch err {
			case nil:
				b = b[n:]
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				failed = err
				return true
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return failed
}
