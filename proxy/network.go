package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// A Network is where a process listens and dials. TCP is the real one; tests
// give a fake one.
type Network interface {
	// Listen opens a control listener. Urgent data of its connections stays
	// in line, because Python's ftplib sends all of ABOR as urgent (H32). A
	// wildcard is opened beside the listeners that this process has for single
	// addresses at that port, which go on serving theirs.
	Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error)
	// ListenData opens a data listener.
	ListenData(at Local) (net.Listener, error)
	// Dial connects to remote. It comes from the address of local where that
	// is valid, and from its port where that is not 0; a port may have many
	// connections, but the error wraps EADDRINUSE or EADDRNOTAVAIL where it
	// cannot have this one. The context bounds the attempt.
	Dial(ctx context.Context, local Local, remote netip.AddrPort) (net.Conn, error)
	// MayBind tells whether this process may dial from local, of which the
	// address or the port may be missing.
	MayBind(local Local) error
	// Resolve gives the addresses of a host name.
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}

// A Local is our end of connections. One that is transparent may have an address
// that is not this machine's: a client's (IP_TRANSPARENT).
type Local struct {
	netip.AddrPort
	Transparent bool
}

// localAddr is an address of ours with any port.
func localAddr(addr netip.Addr) Local { return Local{AddrPort: netip.AddrPortFrom(addr, 0)} }

// with is the same address with a port.
func (l Local) with(port uint16) Local {
	return Local{netip.AddrPortFrom(l.Addr(), port), l.Transparent}
}

// TCP is the network of the machine.
type TCP struct{}

// keepAlive finds peers that are gone without a word, and holds the state of
// firewalls and load balancers whose idle limit is a few minutes (H61).
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 15 * time.Second, Count: 8}

// Listen opens a control listener with SO_OOBINLINE.
func (TCP) Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error) {
	takeSign()
	if len(beside) == 0 {
		return listenTCP(addr, controlListener)
	}
	return listenBeside(addr, beside)
}

// ListenData opens a data listener.
func (TCP) ListenData(at Local) (net.Listener, error) {
	if at.Transparent {
		return listenTCP(at.AddrPort, transparently(dataListener))
	}
	return listenTCP(at.AddrPort, dataListener)
}

// transparently sets IP_TRANSPARENT, before a socket is bound, and then what
// control sets.
func transparently(control controlFunc) controlFunc {
	return func(network, address string, c syscall.RawConn) error {
		if err := setTransparent(network, c); err != nil {
			return err
		}
		return control(network, address, c)
	}
}

func listenTCP(addr netip.AddrPort, control controlFunc) (net.Listener, error) {
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6" // A wildcard of one family leaves the other family's alone.
	}
	config := net.ListenConfig{Control: control, KeepAliveConfig: keepAlive}
	config.SetMultipathTCP(false) // MPTCP sockets know neither splice(2) nor SIOCOUTQ as TCP does.
	return config.Listen(context.Background(), network, addr.String())
}

// Dial connects by TCP. A connection that came about while ctx ended is reset: after a
// clean close the server would take an upload that was given up for an empty file
// (H56), and a control connection would keep its port in TIME_WAIT.
func (TCP) Dial(ctx context.Context, local Local, remote netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	dialer.SetMultipathTCP(false)
	dialer.Control = dialled(local.Port())
	if local.Transparent {
		dialer.Control = transparently(dialer.Control)
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

// Resolve asks the resolver of the machine.
func (TCP) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}

// addrPort is the address of one end of a connection, IPv4 always as IPv4.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
