// Package origin tells whose a connection is: its own address's, or the client's that a
// proxy before us names in a PROXY header.
package origin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"ftproxy/internal/logline"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// An Origin is where a connection comes from.
type Origin struct {
	Client netip.AddrPort // whose it is
	Local  netip.AddrPort // where the client reached us, or the proxy
	Proxy  netip.AddrPort // who said so; invalid: nobody, the addresses are the connection's
	At     netip.Addr     // our end of the connection, whatever the header says

	Authority, UniqueID, TLS string // of a version 2 header, where it has them
}

// Direct is the origin of a connection that has no header.
func Direct(conn net.Conn) Origin {
	local := tcp.AddrPort(conn.LocalAddr())
	return Origin{Client: tcp.AddrPort(conn.RemoteAddr()), Local: local, At: local.Addr()}
}

// Why a connection has no usable header, besides [proxyheader.ErrMissing] and
// [proxyheader.ErrInvalid].
var (
	errUntrusted = errors.New("not one of trusted_proxies")
	ErrLocal     = errors.New("the proxy's own connection")
)

// Reason is the metric's word for it.
func Reason(err error) string {
	switch {
	case errors.Is(err, errUntrusted):
		return "untrusted"
	case errors.Is(err, ErrLocal):
		return "local"
	case errors.Is(err, net.ErrClosed): // The port pool has closed it.
		return "unwanted"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, proxyheader.ErrMissing):
		return "missing"
	}
	return "invalid"
}

// Trusted tells whether the far end of a connection is one of the proxies that are
// believed; the error says who it is otherwise.
func Trusted(conn net.Conn, trusted []netip.Prefix) error {
	proxy := tcp.AddrPort(conn.RemoteAddr()).Addr()
	if !tcp.Within(trusted, proxy) {
		return fmt.Errorf("%s is %w", proxy, errUntrusted)
	}
	return nil
}

// Read reads the header of a connection, at most for the time given and until ctx ends,
// whose cause is the error then. Only the proxies of trusted are believed. A connection
// that the proxy makes for itself (a health check) is the proxy's.
func Read(ctx context.Context, conn net.Conn, trusted []netip.Prefix, limit time.Duration) (Origin, error) {
	from := Direct(conn)
	if err := Trusted(conn, trusted); err != nil {
		return from, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	h, err := proxyheader.Read(conn)
	if !stop() {
		return from, context.Cause(ctx)
	}
	if err != nil {
		return from, err
	}
	_ = conn.SetReadDeadline(time.Time{})
	if h.Own {
		return from, nil
	}
	from.Proxy, from.Client, from.Local = from.Client, h.Source, h.Destination
	from.Authority, from.UniqueID, from.TLS = h.Authority, h.UniqueID, h.TLS
	return from, nil
}

// Log adds what is known of the proxy.
func (o *Origin) Log(e logline.Line) logline.Line {
	if !o.Proxy.IsValid() {
		return e
	}
	e = e.Stringer("proxy", o.Proxy)
	for _, f := range [][2]string{{"authority", o.Authority}, {"unique_id", o.UniqueID}, {"tls", o.TLS}} {
		if f[1] != "" {
			e = e.Text(f[0], f[1])
		}
	}
	return e
}

// Header is the PROXY header that tells a server who the client is and where it
// reached us, or the proxy before us. Its unique id is id, or the one that the proxy
// before us gave.
func (o *Origin) Header(version byte, id string) []byte {
	h := proxyheader.Header{Source: o.Client, Destination: o.Local, Authority: o.Authority, UniqueID: o.UniqueID}
	if h.UniqueID == "" {
		h.UniqueID = id
	}
	text, err := h.Format(version)
	if err != nil { // Two addresses always have words.
		return nil
	}
	return text
}

// A named connection is one whose far end a header has named.
type named struct {
	net.Conn
	client net.Addr
}

// Named is conn with the client as its far end.
func Named(conn net.Conn, client netip.AddrPort) net.Conn {
	return named{conn, net.TCPAddrFromAddrPort(client)}
}

func (c named) RemoteAddr() net.Addr { return c.client }

// NetConn is the connection itself.
func (c named) NetConn() net.Conn { return c.Conn }
