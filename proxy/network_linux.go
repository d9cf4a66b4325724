package proxy

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type controlFunc = func(network, address string, c syscall.RawConn) error

// userTimeout is how long written control bytes may stay unacknowledged. Data
// connections have none: it would kill a live receiver that pauses.
const userTimeout = 90 * time.Second

// controlListener sets what the accepted control connections inherit. It has
// to be set on the listener: urgent bytes may come before accept returns.
func controlListener(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		if failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1); failed != nil {
			return
		}
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}

// listenBeside opens a wildcard while sockets for single addresses listen on the
// same port. The kernel lets it where all of them have SO_REUSEPORT; they have it
// only for that moment, so that no other program can join them.
func listenBeside(addr netip.AddrPort, beside []net.Listener) (net.Listener, error) {
	share := func(l net.Listener, on int) error {
		c, ok := l.(syscall.Conn)
		if !ok {
			return syscall.EADDRINUSE
		}
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		return setInt(raw, unix.SOL_SOCKET, unix.SO_REUSEPORT, on)
	}
	for _, l := range beside {
		if err := share(l, 1); err != nil {
			return nil, err
		}
		defer share(l, 0)
	}
	l, err := listenTCP(addr, func(network, address string, c syscall.RawConn) error {
		return errors.Join(controlListener(network, address, c), setInt(c, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
	if err != nil {
		return nil, err
	}
	unshare(addrPort(l.Addr()))
	if err := share(l, 0); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// unshare makes the kernel forget that the sockets of a port could be joined: it
// remembers the address of the last one that was bound with SO_REUSEPORT, not what
// the sockets are set to now. The address bound here is nobody's (RFC 5737, RFC
// 6666) and of the other family, so it is in nobody's way. Where that fails the port
// stays one that programs of this user can join if they ask for it.
func unshare(addr netip.AddrPort) {
	family, level, free := unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_FREEBIND
	at := unix.Sockaddr(&unix.SockaddrInet6{Port: int(addr.Port()), Addr: netip.MustParseAddr("100::1").As16()})
	if addr.Addr().Is6() {
		family, level, free = unix.AF_INET, unix.SOL_IP, unix.IP_FREEBIND
		at = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: [4]byte{192, 0, 2, 1}}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, o := range [][2]int{{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.SOL_SOCKET, unix.SO_REUSEPORT}, {level, free}} {
		_ = unix.SetsockoptInt(fd, o[0], o[1], 1)
	}
	if family == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	_ = unix.Bind(fd, at)
}

// waiting tells whether somebody waits to be accepted. It needs no descriptor.
func waiting(l net.Listener) bool {
	c, ok := l.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	_ = raw.Control(func(fd uintptr) {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p[:], 0)
		ready = n > 0
	})
	return ready
}

// acknowledgeAtOnce makes the next bytes that come be acknowledged without delay.
func acknowledgeAtOnce(tcp *net.TCPConn) {
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = setInt(raw, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) // Without it, it only takes longer.
	}
}

func setInt(c syscall.RawConn, level, option, value int) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(err, failed)
}

// dialled prepares a socket that will connect from a port, 0 for any. Closing
// it is a reset, until SetLinger(-1). A port that was named may have many
// connections; one that the kernel picks is picked for the peer, so that peers
// share the ports.
func dialled(port uint16) controlFunc {
	level, option := unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT
	if port != 0 {
		level, option = unix.SOL_SOCKET, unix.SO_REUSEADDR
	}
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			if failed == nil {
				failed = unix.SetsockoptInt(int(fd), level, option, 1)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}
}

// setTransparent needs CAP_NET_RAW or CAP_NET_ADMIN.
func setTransparent(network string, c syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	return os.NewSyscallError("setsockopt IP_TRANSPARENT", setInt(c, level, option, 1))
}

// MayBind tries it. That something listens on a port says nothing of another
// address.
func (TCP) MayBind(local Local) error {
	family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(local.Port())})
	switch addr := local.Addr(); {
	case addr.Is4():
		at = &unix.SockaddrInet4{Port: int(local.Port()), Addr: addr.As4()}
	case addr.Is6():
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: int(local.Port()), Addr: addr.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil && local.Addr().IsValid() {
		return os.NewSyscallError("socket", err)
	}
	if err != nil {
		return nil // Without IPv4 there is nothing to be learned.
	}
	defer unix.Close(fd)
	if local.Transparent {
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1); err != nil {
			return os.NewSyscallError("setsockopt IP_TRANSPARENT", err)
		}
	}
	if err := unix.Bind(fd, at); err == unix.EACCES || err != nil && local.Port() == 0 {
		return os.NewSyscallError("bind", err)
	}
	return nil
}

// tuneControl sets on a dialled control connection what controlListener sets
// on accepted ones. A connection that is not TCP needs nothing.
func tuneControl(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = controlListener("", "", raw) // Only a tuning: the connection works without.
		}
	}
}

// peek waits for the first byte that conn receives, or for its end, and leaves
// the byte to be read. A connection that cannot tell is taken to have one.
func peek(conn net.Conn) error {
	var b [1]byte
	if p, ok := conn.(interface{ Peek([]byte) (int, error) }); ok {
		_, err := p.Peek(b[:])
		return err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
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

// finReceived tells whether the peer has ended its stream, which nobody may have
// read yet: a client that is killed does so in the moment in which the server
// confirms what there is of its upload.
func finReceived(conn net.Conn) bool {
	state := stateOf(conn)
	return state == unix.BPF_TCP_CLOSE_WAIT || state == unix.BPF_TCP_CLOSE
}

// wasReset tells whether the peer has reset the connection, which nobody may have read
// yet.
func wasReset(conn net.Conn) bool { return stateOf(conn) == unix.BPF_TCP_CLOSE }

// stateOf is the state of a TCP connection, 0 of any other.
func stateOf(conn net.Conn) (state uint8) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			state = info.State
		}
	})
	return state
}

// writeUrgent sends b with its last byte as TCP urgent data, as Telnet's synch
// wants it (RFC 959 §4.1.3). BSD's ftpd looks at ABOR during a transfer only
// after such a signal. On a connection that knows no urgent data, b goes in
// line.
func writeUrgent(conn net.Conn, b []byte) error {
	if u, ok := conn.(interface{ WriteUrgent([]byte) (int, error) }); ok {
		_, err := u.WriteUrgent(b)
		return err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		_, err := conn.Write(b)
		return err
	}
	raw, err := tcp.SyscallConn()
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
