package proxy

import (
	"errors"
	"net"

	"ftproxy/internal/origin"
	"ftproxy/internal/tcp"
)

// A proxy before us names the client of a connection in a PROXY header. Only the
// frontend's trusted_proxies are believed. The client that they name counts
// everywhere: for limits, bounce and peer checks, logs and addresses. Where the
// backend wants it, servers get such a header from us (ownHeader).

// welcomeProxied begins the session of a connection with a PROXY header, on a
// goroutine of its own: a slow header delays nobody else's.
func (p *Process) welcomeProxied(conn net.Conn, rt *Runtime, fe *frontend) {
	defer p.accepting.Done()
	if fe.greetFirst && origin.Trusted(conn, fe.trustedProxies) == nil {
		p.greetUnknown(conn, rt, fe)
		return
	}
	from, err := origin.Read(p.serving, conn, fe.trustedProxies, rt.timeouts.ProxyHeader)
	if err != nil {
		p.refuseHeader(conn, fe, "control", err)
		tcp.Reset(conn)
		return
	}
	p.welcome(conn, rt, fe, from)
}

// greetUnknown is for a proxy that sends its header with the client's first bytes: an FTP
// client sends none before it is greeted. It may be a person at a terminal, so the header
// has as long as a login. Meanwhile the connection counts as a session, but as nobody's:
// whose it is shows afterwards.
func (p *Process) greetUnknown(conn net.Conn, rt *Runtime, fe *frontend) {
	if why := p.sessions.await(rt); why != "" {
		p.refuse(conn, fe, origin.Direct(conn), why)
		return
	}
	sayOnce(conn, 220, fe.banner)
	from, err := origin.Read(p.serving, conn, fe.trustedProxies, rt.timeouts.Login)
	p.sessions.awaited()
	if err == nil {
		p.welcome(conn, rt, fe, from)
		return
	}
	p.refuseHeader(conn, fe, "control", err)
	switch {
	case errors.Is(err, ErrShutdown):
		sayOnce(conn, 421, textShutdown)
	case isTimeout(err):
		sayOnce(conn, 421, textLoginTimeout)
	default:
		tcp.Reset(conn)
		return
	}
	_ = conn.Close()
}

// refuseHeader counts and logs a connection, of control or data (kind), that has no usable
// PROXY header. The caller closes it.
func (p *Process) refuseHeader(conn net.Conn, fe *frontend, kind string, err error) {
	reason := origin.Reason(err)
	if errors.Is(err, ErrShutdown) {
		reason = "shutdown"
	}
	p.metrics.ProxyHeaderRefused(fe.name, reason)
	proxy := tcp.AddrPort(conn.RemoteAddr())
	p.often(headerUnusable, fe.name, reason, proxy.Addr()).Err(err).Str("frontend", word(fe.name)).Stringer("proxy", proxy).
		Str("kind", word(kind)).Str("reason", word(reason)).Msg(headerUnusable.Message)
}

// ownHeader is the PROXY header that tells a server who the client is, or nil where the
// backend's servers are not told.
func (s *session) ownHeader() []byte {
	if s.backend.sendProxy == 0 {
		return nil
	}
	return s.from.Header(s.backend.sendProxy, s.log.name())
}
