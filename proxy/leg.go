package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"ftproxy/config"
	"ftproxy/internal/portpool"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// A leg is one side of a data connection, agreed on but not yet open.
type leg interface {
	// open waits for the connection, or makes it. The caller closes the conn.
	open(ctx context.Context) (net.Conn, error)
	// Close gives the port back; it comes after the close of the conn, and is
	// safe to repeat.
	Close() error
	// patient legs are opened only once the server has accepted the transfer.
	patient() bool
}

// A listenLeg waits for its peer on a leased port.
type listenLeg struct{ lease *portpool.Lease }

func (l listenLeg) open(ctx context.Context) (net.Conn, error) { return l.lease.Accept(ctx) }
func (l listenLeg) Close() error                               { return l.lease.Close() }
func (l listenLeg) patient() bool                              { return false }

// A dialLeg connects to its peer.
type dialLeg struct {
	network Network
	local   tcp.Local          // as on the control connection: peers compare the two
	ports   []config.PortRange // to come from, in the order to try; none: any
	remote  netip.AddrPort
	// late: to a client nothing is dialled before its server has accepted the
	// transfer, so that ftproxy cannot be made to knock at ports (RFC 2577 §3).
	late bool
	// header is what the connection begins with.
	header []byte
	limit  time.Duration // for that
}

func (l dialLeg) open(ctx context.Context) (net.Conn, error) {
	if len(l.ports) == 0 {
		conn, err := l.network.Dial(ctx, l.local, l.remote)
		if err != nil {
			return nil, err
		}
		if err := proxyheader.Send(conn, l.header, l.limit); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
	// The kernel refuses a port from which this peer's port has a connection
	// already, or had one a minute ago.
	var err error
	for _, r := range l.ports {
		first := rand.IntN(r.Len())
		for i := range r.Len() {
			port := r.First + uint16((first+i)%r.Len())
			var conn net.Conn
			conn, err = l.network.Dial(ctx, l.local.WithPort(port), l.remote)
			if err == nil || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				return conn, err
			}
		}
	}
	return nil, fmt.Errorf("no port of active_source_ports is free for %s: %w", l.remote, err)
}
func (l dialLeg) Close() error  { return nil }
func (l dialLeg) patient() bool { return l.late }
