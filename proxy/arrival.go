package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/listeners"
	"ftproxy/internal/origin"
	"ftproxy/internal/registry"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
)

// serve begins the session of an accepted connection, or refuses it with 421.
// It takes over conn and does not wait.
func (p *Process) serve(conn net.Conn, key netip.AddrPort, scarce bool) {
	rt := p.runtime.Load()
	fe := listeners.Find(rt.frontends, key, tcp.AddrPort(conn.LocalAddr()).Addr())
	if fe == nil || fe.down() {
		// A listener that is about to be closed; or a wildcard's, kept for some
		// of its addresses, where this one looks as if nobody listened.
		tcp.Reset(conn)
		return
	}
	if scarce {
		p.refuse(conn, fe, origin.Direct(conn), "descriptors")
		return
	}
	if fe.proxyProtocol {
		p.accepting.Add(1)
		p.workers.Go(func() { p.welcomeProxied(conn, rt, fe) })
		return
	}
	p.welcome(conn, rt, fe, origin.Direct(conn))
}

// welcome begins the session of a connection, or refuses it where a limit is
// reached.
func (p *Process) welcome(conn net.Conn, rt *Runtime, fe *frontend, from origin.Origin) {
	e, why := p.sessions.Enter(registry.Session{ClientAddr: from.Client, LocalAddr: from.Local, Frontend: fe.name, Rules: rt},
		registry.Limits{Sessions: rt.limits.Sessions, PerClient: rt.limits.SessionsPerClient})
	if why != "" {
		p.refuse(conn, fe, from, why)
		return
	}
	go newSession(p, e, rt, fe, from, conn).run()
}

// refuse answers a client that gets no session, and takes over conn.
func (p *Process) refuse(conn net.Conn, fe *frontend, from origin.Origin, why string) {
	refused := p.reportOf(p.serving, fe)
	refused.SessionRefused(from.Client, why)
	text := "Too many connections, try again later."
	if why == "draining" {
		text = textShutdown
	}
	sayOnce(conn, 421, text)
	_ = conn.Close()
}

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
		refused := p.reportOf(p.serving, fe)
		refused.HeaderUnusable(conn, "control", err)
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
	if why := p.sessions.Await(rt.limits.Sessions); why != "" {
		p.refuse(conn, fe, origin.Direct(conn), why)
		return
	}
	sayOnce(conn, 220, fe.banner)
	from, err := origin.Read(p.serving, conn, fe.trustedProxies, rt.timeouts.Login)
	p.sessions.Awaited()
	if err == nil {
		p.welcome(conn, rt, fe, from)
		return
	}
	refused := p.reportOf(p.serving, fe)
	refused.HeaderUnusable(conn, "control", err)
	switch {
	case errors.Is(err, ErrShutdown):
		sayOnce(conn, 421, textShutdown)
	case tcp.IsTimeout(err):
		sayOnce(conn, 421, textLoginTimeout)
	default:
		tcp.Reset(conn)
		return
	}
	_ = conn.Close()
}

// reportOf counts and logs what a frontend refuses; ctx is what its connections wait for.
func (p *Process) reportOf(ctx context.Context, fe *frontend) report.Frontend {
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

// sayOnce writes a reply on a connection that has no session. A fresh connection has room
// for a line: the write does not block.
func sayOnce(conn net.Conn, code int, text string) {
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write(ftp.AppendReply(nil, code, text))
	_ = conn.SetWriteDeadline(time.Time{})
}
