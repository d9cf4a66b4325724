package proxy

import (
	"context"
	"errors"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/portpool"
	"ftproxy/internal/report"
)

// A portWait is a request for the data ports of a setup. The session lives on
// meanwhile.
type portWait struct {
	setup  *setup
	cancel context.CancelFunc
	leased chan leased // one, buffered
}

// leased is what came of it.
type leased struct {
	portpool.Pair
	err error
}

// leasePorts asks for the ports that the legs of a setup listen on, without
// waiting for them: onLeased goes on. A data connection that was agreed on
// before is void now (RFC 959 §3.2, H47).
func (s *session) leasePorts(st *setup) error {
	s.tellUnused()
	s.dropData()
	var public, inside *portpool.Request
	if st.passiveClient() {
		public = s.publicPort(st)
	}
	if !ftp.IsPassive(st.attempts[0]) {
		inside = s.insidePort()
	}
	if public == nil && inside == nil {
		return s.sendSetup(st)
	}
	ctx, cancel := context.WithTimeout(s.p.hardStop, s.rt.timeouts.PortWait)
	out := make(chan leased, 1)
	s.data.wait = &portWait{setup: st, cancel: cancel, leased: out}
	pause := portlessPause - time.Since(s.data.portless)
	pool := s.p.ports
	s.p.workers.Go(func() {
		pair, err := pool.LeasePair(ctx, pause, public, inside)
		out <- leased{pair, err}
	})
	return nil
}

// portlessPause is how long a session that was refused a port at once, because very many
// wait, waits before its next request is looked at: thousands that ask again and again
// would keep a processor busy.
const portlessPause = time.Second

func (s *session) leased() <-chan leased {
	if s.data.wait == nil {
		return nil
	}
	return s.data.wait.leased
}

// onLeased tells the server of the data connection.
func (s *session) onLeased(l leased) error {
	st := s.data.wait.setup
	s.data.wait.cancel()
	s.data.wait = nil
	if l.err != nil && s.p.hardStop.Err() != nil { // That is why, and the session's news may come later.
		return &ending{reason: endShutdown, text: textShutdown, cause: context.Cause(s.p.hardStop)}
	}
	if l.err != nil {
		s.data.promises.ClientTold()
		s.data.givenUp = true
		if errors.Is(l.err, portpool.ErrManyWait) {
			s.data.portless = time.Now()
		}
		s.log.Often(report.NoPort).Err(l.err).Masked("user", s.user).Verb(st.client).
			Dur("port_wait", s.rt.timeouts.PortWait).Msg(report.NoPort.Message)
		return refuse(425, textNoPort, l.err)
	}
	st.ports = l.Pair
	return s.sendSetup(st)
}

// releasePorts gives up the ports that are waited for, or that the server has
// not agreed to yet.
func (s *session) releasePorts() {
	for _, ex := range s.pending {
		if ex.setup != nil {
			ex.setup.ports.Close()
		}
	}
	if s.data.wait == nil {
		return
	}
	s.data.wait.cancel()
	(<-s.data.wait.leased).Close()
	s.data.wait = nil
}
