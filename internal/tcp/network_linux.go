package tcp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long written control bytes may stay unacknowledged. Data
// connections have none: it would kill a live receiver that pauses.
const userTimeout = 90 * time.Second

// controlListener sets what the accepted control connections inherit. It has
// to be set on the listener: urgent bytes may come before accept returns.
func controlListener(_, _ string, raw syscall.RawConn) error {
	return control(raw, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1); err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
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
	unshare(AddrPort(l.Addr()))
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

// Waiting tells whether a connection waits in the queue of l to be accepted, without
// accepting it: that needs no descriptor. A listener that cannot tell is taken to have
// one.
func Waiting(l net.Listener) (some bool) {
	c, ok := l.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p[:], 0)
		some = n > 0
	})
	return some
}

// setInt sets an option of a socket.
func setInt(raw syscall.RawConn, level, option, value int) error {
	return control(raw, func(fd int) error { return unix.SetsockoptInt(fd, level, option, value) })
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
	return func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error {
			if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
				return err
			}
			return unix.SetsockoptInt(fd, level, option, 1)
		})
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

// setFreeBind lets a socket be bound to an address that this machine may get later.
func setFreeBind(network string, c syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	return os.NewSyscallError("setsockopt IP_FREEBIND", setInt(c, level, option, 1))
}

// MayBind tells whether this process may connect from local, by trying to bind it. An
// invalid address is any address, and port 0 any port. A port on which something
// listens already is allowed: it says nothing of another address.
func (Network) MayBind(local Local) error {
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

// TuneControl sets on a dialled control connection what Listen sets on accepted
// ones. It does nothing to a connection that is not TCP.
func TuneControl(conn net.Conn) {
	if socket, ok := conn.(*net.TCPConn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			_ = controlListener("", "", raw) // Only a tuning: the connection works without.
		}
	}
}
