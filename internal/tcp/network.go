package tcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// A Network is the network of this machine.
type Network struct{}

// A Local is our end of connections. The zero value leaves address and port to the
// kernel.
type Local struct {
	netip.AddrPort
	// Transparent allows an address that is not this machine's: a client's
	// (IP_TRANSPARENT). It needs Linux, and CAP_NET_RAW or CAP_NET_ADMIN.
	Transparent bool
	// FreeBind allows an address that this machine may get later (IP_FREEBIND). It
	// needs Linux.
	FreeBind bool
}

// AnyPort is an address of this machine with any port. An invalid address stands for
// any address.
func AnyPort(addr netip.Addr) Local { return Local{AddrPort: netip.AddrPortFrom(addr, 0)} }

// WithPort returns the same address with a port.
func (l Local) WithPort(port uint16) Local {
	l.AddrPort = netip.AddrPortFrom(l.Addr(), port)
	return l
}

// keepAlive finds peers that are gone without a word, and holds the state of
// firewalls and load balancers whose idle limit is a few minutes (H61).
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 15 * time.Second, Count: 8}

// Listen opens a listener for control connections. Urgent data of its connections
// stays in line (SO_OOBINLINE), because Python's ftplib sends all of ABOR as urgent
// (H32). beside are listeners of this process for single addresses at the same port:
// a wildcard is opened beside them, and they go on serving theirs.
func (Network) Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error) {
	takeSign()
	if len(beside) == 0 {
		return listenTCP(addr, controlListener)
	}
	return listenBeside(addr, beside)
}

// ListenFree is Listen for a single address that this machine may get later.
func (Network) ListenFree(addr netip.AddrPort) (net.Listener, error) {
	takeSign()
	return listenTCP(addr, before(setFreeBind, controlListener))
}

// ListenData opens a listener for data connections. It has a method Queued, which
// accepts what is in its queue without waiting.
func (Network) ListenData(at Local) (net.Listener, error) {
	control := controlFunc(dataSocket)
	switch {
	case at.Transparent:
		control = before(setTransparent, dataSocket)
	case at.FreeBind:
		control = before(setFreeBind, dataSocket)
	}
	l, err := listenTCP(at.AddrPort, control)
	if err != nil {
		return nil, err
	}
	return dataListener{l.(*net.TCPListener)}, nil
}

// A controlFunc prepares a socket before it is bound or connected.
type controlFunc = func(network, address string, raw syscall.RawConn) error

// before sets an option of a socket before it is bound, and then what control sets.
func before(option func(network string, raw syscall.RawConn) error, control controlFunc) controlFunc {
	return func(network, address string, raw syscall.RawConn) error {
		if err := option(network, raw); err != nil {
			return err
		}
		return control(network, address, raw)
	}
}

// listenTCP opens a listener of the family of addr alone.
func listenTCP(addr netip.AddrPort, control controlFunc) (net.Listener, error) {
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6" // A wildcard of one family leaves the other family's alone.
	}
	config := net.ListenConfig{Control: control, KeepAliveConfig: keepAlive}
	config.SetMultipathTCP(false) // MPTCP sockets know neither splice(2) nor SIOCOUTQ as TCP does.
	return config.Listen(context.Background(), network, addr.String())
}

// Dial connects to remote, from the address of local where that is valid and from its
// port where that is not 0. The error wraps EADDRINUSE or EADDRNOTAVAIL where that port
// cannot have this connection. ctx bounds the attempt. A connection that came about
// while ctx ended is reset: after a clean close the server would take an upload that
// was given up for an empty file (H56), and a control connection would keep its port in
// TIME_WAIT.
func (Network) Dial(ctx context.Context, local Local, remote netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	dialer.SetMultipathTCP(false)
	dialer.Control = dialled(local.Port())
	if local.Transparent {
		dialer.Control = before(setTransparent, dialer.Control)
	}
	if local.Addr().IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(local.AddrPort)
	}
	conn, err := dialer.DialContext(ctx, "tcp", remote.String())
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetLinger(-1); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// Resolve asks the resolver of the machine for the addresses of a host name. ctx bounds
// it.
func (Network) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}
