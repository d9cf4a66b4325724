package transfer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"ftproxy/internal/portpool"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// A Leg is one side of a data connection, agreed on but not yet open.
type Leg interface {
	// open waits for the connection, or makes it. The caller closes the conn.
	open(ctx context.Context) (net.Conn, error)
	// Close gives the port back; it comes after the close of the conn, and is
	// safe to repeat.
	Close() error
	// patient legs are opened only once the server has accepted the transfer.
	patient() bool
}

// A ListenLeg waits for its peer on a leased port.
type ListenLeg struct{ Lease *portpool.Lease }

func (l ListenLeg) open(ctx context.Context) (net.Conn, error) { return l.Lease.Accept(ctx) }
func (l ListenLeg) Close() error                               { return l.Lease.Close() }
func (l ListenLeg) patient() bool                              { return false }

// A Dialer makes connections, as dial.Network says.
type Dialer interface {
	Dial(ctx context.Context, local tcp.Local, remote netip.AddrPort) (net.Conn, error)
}

// A DialLeg connects to its peer.
type DialLeg struct {
	Dialer Dialer
	Local  tcp.Local        // as on the control connection: peers compare the two
	Ports  []portpool.Range // to come from, in the order to try; none: any
	Remote netip.AddrPort
	// Late: to a client nothing is dialled before its server has accepted the
	// transfer, so that ftproxy cannot be made to knock at ports (RFC 2577 §3).
	Late bool
	// Header is a PROXY header, which the connection begins with: only towards servers,
	// so never together with Ports, which are for clients.
	Header []byte
	Limit  time.Duration // to write Header
}

func (l DialLeg) open(ctx context.Context) (net.Conn, error) {
	if len(l.Ports) == 0 {
		conn, err := l.Dialer.Dial(ctx, l.Local, l.Remote)
		if err != nil {
			return nil, err
		}
		if err := proxyheader.Send(conn, l.Header, l.Limit); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
	// The kernel refuses a port from which this peer's port has a connection
	// already, or had one a minute ago.
	var err error
	for _, r := range l.Ports {
		first := rand.IntN(r.Len())
		for i := range r.Len() {
			port := r.First + uint16((first+i)%r.Len())
			var conn net.Conn
			conn, err = l.Dialer.Dial(ctx, l.Local.WithPort(port), l.Remote)
			if err == nil || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				return conn, err
			}
		}
	}
	return nil, fmt.Errorf("no port of active_source_ports is free for %s: %w", l.Remote, err)
}
func (l DialLeg) Close() error  { return nil }
func (l DialLeg) patient() bool { return l.Late }
