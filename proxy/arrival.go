package proxy

import (
	"net"
	"net/netip"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/listeners"
	"ftproxy/internal/origin"
	"ftproxy/internal/tcp"
)

// serve begins the session of an accepted connection, or refuses it with 421.
// It takes over conn and does not wait.
func (p *Process) serve(conn net.Conn, key netip.AddrPort, scarce bool) {
	rt := p.runtime.Load()
	fe := listeners.Find(rt.frontends, key, tcp.AddrPort(conn.LocalAddr()).Addr())
	if fe == nil {
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
	e, why := p.sessions.add(rt, fe, from)
	if why != "" {
		p.refuse(conn, fe, from, why)
		return
	}
	go newSession(p, e, conn).run()
}

// refuse answers a client that gets no session, and takes over conn.
func (p *Process) refuse(conn net.Conn, fe *frontend, from origin.Origin, why string) {
	p.metrics.SessionRefused(fe.name, why)
	p.often(sessionRefused, fe.name, why, from.Client.Addr()).Str("frontend", word(fe.name)).
		Stringer("client", from.Client).Str("limit", word(why)).Msg(sessionRefused.Message)
	text := "Too many connections, try again later."
	if why == "draining" {
		text = textShutdown
	}
	sayOnce(conn, 421, text)
	_ = conn.Close()
}

// sayOnce writes a reply on a connection that has no session. A fresh connection has room
// for a line: the write does not block.
func sayOnce(conn net.Conn, code int, text string) {
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write(ftp.AppendReply(nil, code, text))
	_ = conn.SetWriteDeadline(time.Time{})
}
