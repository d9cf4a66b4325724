package proxy

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"ftproxy/internal/ftp"
)

// A listener accepts control connections. It belongs to the process; which
// frontend it serves is looked up in the runtime of the moment.
type listener struct {
	net.Listener
	key netip.AddrPort // as configured
}

// Accept errors such as EMFILE pass by themselves; meanwhile clients wait in
// the backlog.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// accept starts a session for each connection, until the listener is closed.
func (p *Process) accept(l *listener) {
	defer p.accepting.Done()
	pause := acceptPauseMin
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			p.serve(conn, l.key)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			p.log.Error().Err(err).Stringer("listen", l.key).Msg("accept failed")
			select {
			case <-time.After(pause):
			case <-p.drain:
			}
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

// serve begins the session of an accepted connection, or refuses it with 421.
// It takes over conn and does not wait.
func (p *Process) serve(conn net.Conn, key netip.AddrPort) {
	rt := p.runtime.Load()
	fe := rt.frontends[key]
	if fe == nil { // The listener is about to be closed.
		_ = conn.Close()
		return
	}
	client := addrPort(conn.RemoteAddr())
	if why := p.admit(client.Addr(), rt.limits); why != "" {
		p.metrics.SessionRefused(fe.name, why)
		p.log.Warn().Str("frontend", fe.name).Stringer("client", client).Str("limit", why).Msg("session refused")
		// A fresh connection has room for one line: the write does not block.
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		text := "Too many connections, try again later."
		if why == "draining" {
			text = "Service is shutting down."
		}
		_, _ = conn.Write(ftp.AppendReply(nil, 421, text))
		_ = conn.Close()
		return
	}
	s := newSession(p, rt, fe, conn)
	go s.run()
}
