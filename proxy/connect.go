package proxy

import (
	"context"

	"ftproxy/internal/balance"
	"ftproxy/internal/dial"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
)

// A dialling is a session's attempt to connect to a server.
type dialling struct {
	out  chan dialled // one, buffered
	stop context.CancelFunc
}

// A dialled is what came of it.
type dialled struct {
	server *dial.Server
	err    error
}

// connect begins to connect to a server of the session's backend; onConnected goes on. place
// is the session's at a server that it has left; nil: none.
func (s *session) connect(place *balance.Lease) {
	ctx, stop := context.WithCancel(s.p.hardStop)
	out := make(chan dialled, 1)
	s.dialling = &dialling{out: out, stop: stop}
	job := struct { // One allocation, and nothing of the session.
		dialer dial.Dialer
		log    report.Session
	}{s.dialer(), s.log}
	s.p.workers.Go(func() {
		sv, err := job.dialer.Connect(ctx, place, job.log.ServerUnusable)
		out <- dialled{sv, err}
	})
}

// dialer connects to the servers of the session's backend on behalf of its client.
func (s *session) dialer() dial.Dialer {
	return dial.Dialer{
		Network:  s.p.network,
		Metrics:  s.p.metrics,
		Backend:  s.backend.Backend,
		Timeouts: &s.rt.timeouts,
		Client:   s.ClientAddr.Addr(),
		User:     s.client.chosenBy,
		Header:   s.ownHeader(),
		IsOwn:    s.rt.isOwn,
	}
}

// dialled is where the outcome of an attempt comes from.
func (s *session) dialled() <-chan dialled {
	if s.dialling == nil {
		return nil
	}
	return s.dialling.out
}

// onConnected greets the client in the server's words, or in the banner's.
func (s *session) onConnected(d dialled) error {
	s.dialling.stop() // It is over; so is what it holds.
	s.dialling = nil
	if d.err != nil {
		return s.refuseGreeting(d.err)
	}
	s.server = &server{Server: d.server}
	s.server.Start(s.rt.timeouts.ClientWrite, &s.HardStop)
	s.log.Server = s.server.Addr
	s.greet()
	return nil
}

// leaveServer ends the connection to a server that must not be used any more. It is
// reset, as in leavesBeforeLogin.
func (s *session) leaveServer() {
	s.dropData()
	s.server.Reset()
	s.server.Wait()
	s.left, s.server, s.stage = s.server.Place, nil, connecting
}

// stopConnecting ends an attempt that is under way. A connection that it made is reset,
// as in leavesBeforeLogin.
func (s *session) stopConnecting() {
	if s.dialling == nil {
		return
	}
	s.dialling.stop()
	if d := <-s.dialling.out; d.server != nil {
		tcp.Reset(d.server.Conn)
		d.server.Place.Release()
	}
	s.dialling = nil
}
