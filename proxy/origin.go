package proxy

import (
	"errors"
	"net"

	"ftproxy/internal/origin"
	"ftproxy/internal/report"
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
	from, err := origin.Read(p.serving, conn, fe.trustedProxies, rt.timeouts.ProxyHeader)
	if err != nil {
		p.refuseHeader(conn, fe, "control", err)
		tcp.Reset(conn)
		return
	}
	p.welcome(conn, rt, fe, from)
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
	p.repeats.Often(report.HeaderUnusable, fe.name, reason, proxy.Addr()).Err(err).Str("frontend", word(fe.name)).Stringer("proxy", proxy).
		Str("kind", word(kind)).Str("reason", word(reason)).Msg(report.HeaderUnusable.Message)
}

// ownHeader is the PROXY header that tells a server who the client is, or nil where the
// backend's servers are not told.
func (s *session) ownHeader() []byte {
	if s.backend.sendProxy == 0 {
		return nil
	}
	return s.from.Header(s.backend.sendProxy, s.log.Name)
}
