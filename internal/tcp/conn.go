package tcp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// A wrapper is a connection that is made on another one, as TLS is.
type wrapper interface{ NetConn() net.Conn }

// Underlying returns the innermost connection of conn, below TLS and every other
// wrapper that has NetConn. It is conn itself where there is none.
func Underlying(conn net.Conn) net.Conn {
	for {
		w, ok := conn.(wrapper)
		if !ok {
			return conn
		}
		conn = w.NetConn()
	}
}

// Socket returns the TCP connection that conn is, or is made on. ok is false where
// that is none.
func Socket(conn net.Conn) (socket *net.TCPConn, ok bool) {
	socket, ok = Underlying(conn).(*net.TCPConn)
	return socket, ok
}

// AddrPort returns the address of one end of a connection. An IPv4 address is
// always returned as IPv4, also where an IPv6 socket has it. The result is invalid
// where a is nil or has no IP address.
func AddrPort(a net.Addr) netip.AddrPort {
	var addr netip.AddrPort
	switch a := a.(type) {
	case nil:
	case *net.TCPAddr:
		addr = a.AddrPort()
	default:
		addr, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// CloseWrite sends our FIN below TLS, whose close_notify is the caller's to send
// first; the peer may go on sending. The error is [errors.ErrUnsupported] where the
// connection has no half-close.
func CloseWrite(conn net.Conn) error {
	if c, ok := Underlying(conn).(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// ResetOnClose sets whether closing the connection resets it (SO_LINGER 0), rather
// than ends it with a FIN. It does nothing where the connection has no such option.
func ResetOnClose(conn net.Conn, reset bool) {
	seconds := -1 // the system's default: the kernel delivers what is written, and Close does not wait
	if reset {
		seconds = 0
	}
	if c, ok := Underlying(conn).(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(seconds)
	}
}

// Reset closes a connection so that its peer sees a reset. The peer cannot take
// that for the end of a file, as it could a FIN, and no TIME_WAIT is left. TLS says
// no close_notify. A connection that has no SO_LINGER is only closed.
func Reset(conn net.Conn) {
	ResetOnClose(conn, true)
	if _, wraps := conn.(wrapper); wraps { // first, as TLS would say close_notify
		_ = Underlying(conn).Close()
	}
	_ = conn.Close()
}

// control runs f on the descriptor of a socket. The error is f's, or why there is
// no descriptor any more.
func control(raw syscall.RawConn, f func(fd int) error) error {
	q := inquiries.Get().(*inquiry)
	defer inquiries.Put(q)
	q.set, q.err = f, nil
	err := raw.Control(q.run)
	if q.set = nil; err != nil {
		return err
	}
	return q.err
}

// ask runs f on the descriptor of a connection. The error is [errors.ErrUnsupported]
// where that is not TCP.
func ask(conn net.Conn, f func(fd int) error) error {
	socket, ok := Socket(conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, f)
}

// An inquiry is one call of inquire or control. It is kept for the next one, because it would be
// allocated several times in each transfer.
type inquiry struct {
	set    func(fd int) error // of control; nil: f is called
	f      func(fd int) (int64, error)
	answer int64
	err    error
	run    func(fd uintptr)
}

var inquiries = sync.Pool{New: func() any {
	q := new(inquiry)
	q.run = func(fd uintptr) {
		if q.set != nil {
			q.err = q.set(int(fd))
			return
		}
		q.answer, q.err = q.f(int(fd))
	}
	return q
}}

// inquire asks the descriptor of a connection for a number, as ask does. It allocates
// nothing of its own where f is no closure.
func inquire(conn net.Conn, f func(fd int) (int64, error)) (int64, error) {
	socket, ok := Socket(conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	q := inquiries.Get().(*inquiry)
	defer inquiries.Put(q)
	q.f, q.answer, q.err = f, 0, nil
	if err := raw.Control(q.run); err != nil {
		return 0, err
	}
	return q.answer, q.err
}
