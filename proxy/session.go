package proxy

import (
	"errors"
	"net"
	"sync/atomic"

	"ftproxy/internal/balance"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/origin"
	"ftproxy/internal/registry"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
	"ftproxy/internal/timers"
)

// A session is one client's control connection and all it owns. Its loop owns
// every field and does all control writes; the pumps of its two peers, its transfer
// and its dialling only report to it through channels. What a worker needs is copied
// to it.
//
// A session is born connecting (no server yet: commands wait), then greeted,
// then logged in after a 230; REIN brings it back to greeted, and AUTH to connecting
// where the server has to forget something. It ends when its loop returns.
type session struct {
	*registry.Entry
	p       *Process
	rt      *Runtime
	fe      *frontend
	from    origin.Origin
	backend *backend // whose servers it may use
	log     report.Session

	secrets *atomic.Pointer[logline.Secrets] // that the client has said; workers log, too

	client client

	dialling *dialling      // nil: no attempt to connect to a server is under way
	server   *server        // nil: not connected yet
	left     *balance.Lease // the place at a server that was left at AUTH; nil: none

	stage  stage
	asked  masked // the name that USER gave; user once the server has let it in
	user   masked
	midway bool // between RNFR and RNTO, or REST and its transfer

	pending []*exchange // commands that the server has not finally answered

	data data

	timers timers.Timers[timerID]
}

// How far a session has come.
type stage = registry.Stage

const (
	connecting = registry.Connecting
	greeted    = registry.Greeted
	loggedIn   = registry.LoggedIn
	lingering  = registry.Lingering
)

// newSession takes over conn.
func newSession(p *Process, e *registry.Entry, rt *Runtime, fe *frontend, from origin.Origin, conn net.Conn) *session {
	s := &session{Entry: e, p: p, rt: rt, fe: fe, from: from, backend: fe.backend, secrets: new(atomic.Pointer[logline.Secrets])}
	s.log = report.Session{Lines: &p.repeats, Name: p.sessions.Name(s.ID), Client: s.ClientAddr, Local: s.LocalAddr,
		Frontend: fe.name, Backend: s.backend.Name, TLS: s.backend.TLS != nil,
		Implicit: s.backend.TLS != nil && s.backend.TLS.Implicit, Secrets: s.secrets}
	s.client.security.Level = 'C'
	s.client.greeted = s.fe.greetFirst
	s.data.bandwidth = p.bandwidthOf(s.fe, s.backend)
	s.timers.Init()
	s.client.Conn, s.client.Reader = conn, ftp.NewCommandReader(conn)
	s.client.Start(s.rt.timeouts.ClientWrite, &e.HardStop)
	s.show()
	return s
}

// run is the session's goroutine.
func (s *session) run() {
	s.p.metrics.SessionStarted(s.fe.name)
	s.from.Log(s.log.Info().Str("frontend", word(s.fe.name)).AddrPort("local", s.LocalAddr)).Msg("session started")
	if s.fe.tls.Implicit() {
		if err := s.secureFirst(); err != nil {
			s.end(err)
			return
		}
	}
	s.meet()
	s.end(s.loop())
}

// loop returns why the session ends, always an *ending.
func (s *session) loop() error {
	for {
		if err := s.advance(); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		s.ask()
		s.show()

		var err error
		select {
		case err = <-s.client.In():
			err = s.onClient(err)
		case err = <-s.serverIn():
			err = s.onServer(err)
		case d := <-s.dialled():
			err = s.onConnected(d)
		case u := <-s.upgraded():
			err = s.onUpgraded(u)
		case l := <-s.leased():
			err = s.onLeased(l)
		case r := <-s.transferResult():
			err = s.onTransferResult(r)
		case <-s.data.promises.Evicted():
			err = s.onEvicted()
		case <-s.timers.C():
			err = s.onTimer()
		case <-s.News():
			err = s.HardStopped()
		}
		if err = s.answerRefusal(err); err != nil {
			return err
		}
	}
}

// maxBatch is how much of a long reply is collected for one write.
const maxBatch = 16 << 10

// flush writes what the client is owed, unless more of the same reply is
// already at hand.
func (s *session) flush() error {
	if s.server.hasMore() && len(s.client.Out) < maxBatch || s.client.security.upgrading != nil {
		return nil
	}
	if err := s.client.Flush(); err != nil {
		return s.clientFailed(err)
	}
	s.markPromises()
	return nil
}

// answerRefusal turns a refusal into its reply; any other error passes.
func (s *session) answerRefusal(err error) error {
	if err == nil {
		return nil
	}
	var r *refusal
	if !errors.As(err, &r) {
		return err
	}
	s.p.metrics.CommandRefused(r.code)
	s.say(r.code, r.text)
	return nil
}

// answer answers a command with a reply of our own; a code of 400 or more is a refusal.
func (s *session) answer(code int, text string) error {
	if code >= 400 {
		return refuse(code, text, nil)
	}
	s.say(code, text)
	return nil
}

// say queues a reply of our own.
func (s *session) say(code int, text string) {
	s.client.Out = ftp.AppendReply(s.client.Out, code, text)
}

// busy tells whether a command is under way: the next has to wait. So it does
// for replies that are already here, which cannot be meant for it (H15).
func (s *session) busy() bool {
	return s.stage == connecting || s.client.security.upgrading != nil || s.data.wait != nil || s.data.delivery != nil || len(s.pending) > 0 || s.server.hasMore() || s.timers.IsSet(timerSurplus)
}

// advance does what is due between two events: queued commands, and the end of
// a session that has nothing left to do.
func (s *session) advance() error {
	for !s.busy() {
		s.serverMovedOn()
		if s.data.next == nil {
			s.freeSlot()
		}
		switch {
		case len(s.client.queue) > 0 && (!s.server.gone() || s.client.queue[0].sent):
			if err := s.dispatch(s.client.next()); err != nil {
				return err
			}
			continue
		case s.server.gone():
			return &ending{reason: endServerGone, text: "Service not available, the server closed the connection.", cause: errServerGone}
		case s.client.Ended:
			return &ending{reason: endClientGone, cause: errClientGone}
		case s.Leaving() && !s.midway:
			return &ending{reason: endShutdown, text: textShutdown}
		case s.data.evicted:
			if err := s.onEvicted(); err != nil {
				return err
			}
		}
		s.timers.SetIfUnset(timerIdle, s.rt.timeouts.Idle)
		return nil
	}
	s.timers.Clear(timerIdle)
	s.mayLeave()
	s.mayGoOnWithoutCode()
	return nil
}

// Commands are read ahead only as far as ABOR needs it: one waits while a
// command is under way, several during a transfer.
const (
	maxQueued      = 32
	maxQueuedBytes = 2 * ftp.MaxCommandLine
)

// ask tells the pumps to read on.
func (s *session) ask() {
	if s.server != nil {
		s.server.Request()
	}
	if len(s.client.queue) > 0 && s.data.delivery == nil && s.data.wait == nil || len(s.client.queue) >= maxQueued || s.client.security.upgrading != nil {
		return
	}
	size := 0
	for _, q := range s.client.queue {
		size += len(q.Arg)
	}
	if size < maxQueuedBytes {
		s.client.Request()
	}
}

func (s *session) serverIn() <-chan error {
	if s.server == nil {
		return nil
	}
	return s.server.In()
}

// onClient takes what the client's pump read.
func (s *session) onClient(err error) error {
	g, ok := s.client.Received(err)
	if !ok || g.Err != nil || g.Msg.Fault != nil {
		s.lookForHello()
	}
	if !ok {
		return nil
	}
	if g.Err != nil {
		return s.onClientEnd(g.Err)
	}
	c, fill := g.Msg, s.client.Fills
	s.movedOn(c.Verb, fill, false)
	s.keepCommand(c, s.log.KeepSecrets(c))
	s.timers.Clear(timerIdle)
	s.p.metrics.CommandReceived(classOf(c.Verb))
	if len(c.Telnet) > 0 {
		s.client.Out = append(s.client.Out, c.Telnet...)
	}
	if !s.busy() && len(s.client.queue) == 0 {
		return s.dispatch(&queued{Command: c, fill: fill})
	}
	s.hearEarly(c.Verb)
	if overtaken, err := s.overtake(c); overtaken {
		return err
	}
	s.client.enqueue(c, fill)
	return nil
}

// clientFailed is the ending after a write to the client failed.
func (s *session) clientFailed(err error) error {
	if tcp.IsTimeout(err) {
		return &ending{reason: endClientSlow, cause: err}
	}
	return &ending{reason: endClientGone, cause: err}
}
