package proxy

import (
	"context"
	"net"
	"net/netip"

	"ftproxy/internal/tcp"
)

// A Network is where a process listens and dials. [tcp.Network] is the real one;
// tests give a fake one.
type Network interface {
	// Listen opens a control listener. Urgent data of its connections stays
	// in line, because Python's ftplib sends all of ABOR as urgent (H32). A
	// wildcard is opened beside the listeners that this process has for single
	// addresses at that port, which go on serving theirs.
	Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error)
	// ListenFree opens a control listener on a single address that this machine
	// may get later.
	ListenFree(addr netip.AddrPort) (net.Listener, error)
	// ListenData opens a data listener.
	ListenData(at tcp.Local) (net.Listener, error)
	// Dial connects to remote. It comes from the address of local where that
	// is valid, and from its port where that is not 0; a port may have many
	// connections, but the error wraps EADDRINUSE or EADDRNOTAVAIL where it
	// cannot have this one. The context bounds the attempt.
	Dial(ctx context.Context, local tcp.Local, remote netip.AddrPort) (net.Conn, error)
	// MayBind tells whether this process may dial from local, of which the
	// address or the port may be missing.
	MayBind(local tcp.Local) error
	// Resolve gives the addresses of a host name.
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}
