package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// A proxy before us says in a PROXY header whose a connection is. Only such proxies
// are believed as the frontend trusts, and then what they say is the client: for
// limits, bounce and peer checks, logs and addresses. Servers are told by such a
// header, too.

// An origin is where a connection comes from.
type origin struct {
	client netip.AddrPort // whose it is
	local  netip.AddrPort // where the client reached us, or the proxy
	proxy  netip.AddrPort // who said so; invalid: nobody, the addresses are the connection's
	at     netip.Addr     // our end of the connection, whatever the header says

	authority, uniqueID, tls string // of a version 2 header, where it has them
}

// direct is the origin of a connection that has no header.
func direct(conn net.Conn) origin {
	local := tcp.AddrPort(conn.LocalAddr())
	return origin{client: tcp.AddrPort(conn.RemoteAddr()), local: local, at: local.Addr()}
}

// Why a connection has no usable header, besides [proxyheader.ErrMissing] and
// [proxyheader.ErrInvalid].
var (
	errUntrusted   = errors.New("not one of trusted_proxies")
	errHeaderLocal = errors.New("the proxy's own connection")
)

// headerReason is the metric's word for it.
func headerReason(err error) string {
	switch {
	case errors.Is(err, errUntrusted):
		return "untrusted"
	case errors.Is(err, errHeaderLocal):
		return "local"
	case errors.Is(err, ErrShutdown):
		return "shutdown"
	case errors.Is(err, net.ErrClosed): // The port pool has closed it.
		return "unwanted"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, proxyheader.ErrMissing):
		return "missing"
	}
	return "invalid"
}

// identify reads the header of a connection, at most for the time given and until
// ctx ends, which is ErrShutdown. A connection that the proxy makes for itself (a
// health check) is the proxy's.
func (f *frontend) identify(ctx context.Context, conn net.Conn, limit time.Duration) (origin, error) {
	from := direct(conn)
	if !contains(f.trustedProxies, from.client.Addr().WithZone("")) {
		return from, fmt.Errorf("%s is %w", from.client.Addr(), errUntrusted)
	}
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	h, err := proxyheader.Read(conn)
	if !stop() {
		return from, ErrShutdown
	}
	if err != nil {
		return from, err
	}
	_ = conn.SetReadDeadline(time.Time{})
	if h.Own {
		return from, nil
	}
	from.proxy, from.client, from.local = from.client, h.Source, h.Destination
	from.authority, from.uniqueID, from.tls = h.Authority, h.UniqueID, h.TLS
	return from, nil
}

// log adds what is known of the proxy.
func (o *origin) log(e logLine) logLine {
	if !o.proxy.IsValid() {
		return e
	}
	e = e.Stringer("proxy", o.proxy)
	for _, f := range [][2]string{{"authority", o.authority}, {"unique_id", o.uniqueID}, {"tls", o.tls}} {
		if f[1] != "" {
			e = e.Text(f[0], f[1])
		}
	}
	return e
}

// welcomeProxied begins the session of a connection with a PROXY header, on a
// goroutine of its own: a slow header delays nobody else's.
func (p *Process) welcomeProxied(conn net.Conn, rt *Runtime, fe *frontend) {
	defer p.accepting.Done()
	from, err := fe.identify(p.serving, conn, rt.timeouts.ProxyHeader)
	if err != nil {
		p.refuseHeader(conn, fe, "control", err)
		tcp.Reset(conn)
		return
	}
	p.welcome(conn, rt, fe, from)
}

// refuseHeader counts and logs a connection that nobody can tell whose it is.
func (p *Process) refuseHeader(conn net.Conn, fe *frontend, kind string, err error) {
	reason := headerReason(err)
	p.metrics.ProxyHeaderRefused(fe.name, reason)
	proxy := tcp.AddrPort(conn.RemoteAddr())
	p.often(headerUnusable, fe.name, reason, proxy.Addr()).Err(err).Str("frontend", word(fe.name)).Stringer("proxy", proxy).
		Str("kind", word(kind)).Str("reason", word(reason)).Msg(headerUnusable.Message)
}

// ownHeader is the PROXY header that tells a server who the client is and where it
// reached us, or the proxy before us. Its unique id is the session's, or the one that
// the proxy before us gave. It is nil where the backend's servers are not told.
func (s *session) ownHeader() []byte {
	if s.backend.sendProxy == 0 {
		return nil
	}
	h := proxyheader.Header{Source: s.clientAddr, Destination: s.local, Authority: s.from.authority, UniqueID: s.from.uniqueID}
	if h.UniqueID == "" {
		h.UniqueID = s.log.name()
	}
	text, err := h.Format(s.backend.sendProxy)
	if err != nil { // Two addresses always have words.
		return nil
	}
	return text
}

// A proxiedConn is a connection whose far end a header has named.
type proxiedConn struct {
	net.Conn
	client net.Addr
}

func (c proxiedConn) RemoteAddr() net.Addr { return c.client }

// NetConn is the connection itself.
func (c proxiedConn) NetConn() net.Conn { return c.Conn }

// unnamed is the connection that a header came by, or conn.
func unnamed(conn net.Conn) net.Conn {
	if c, ok := conn.(proxiedConn); ok {
		return c.Conn
	}
	return conn
}
