package proxy

import (
	"context"
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
		refused := p.reportOf(fe, p.serving)
		refused.HeaderUnusable(conn, "control", err)
		tcp.Reset(conn)
		return
	}
	p.welcome(conn, rt, fe, from)
}

// reportOf counts and logs what a frontend refuses; ctx is what its connections wait for.
func (p *Process) reportOf(fe *frontend, ctx context.Context) report.Frontend {
	return report.Frontend{Lines: &p.repeats, Metrics: p.metrics, Name: fe.name, Ctx: ctx}
}

// ownHeader is the PROXY header that tells a server who the client is, or nil where the
// backend's servers are not told.
func (s *session) ownHeader() []byte {
	if s.backend.sendProxy == 0 {
		return nil
	}
	return s.from.Header(s.backend.sendProxy, s.log.Name)
}
