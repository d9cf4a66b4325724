package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"ftproxy/internal/ftp"
)

// A session is one client's control connection and all it owns. Its loop owns
// every field and does all control writes; the pumps of its two peers and its
// transfer only report to it through channels.
//
// A session is born connecting (no server yet: commands wait), then greeted,
// then logged in after a 230; REIN brings it back to greeted. It ends when its
// loop returns.
type session struct {
	p   *Process
	rt  *Runtime
	fe  *frontend
	id  uint64
	log sessionLog

	pumps sync.WaitGroup

	client     *peer[ftp.Command]
	clientAddr netip.AddrPort
	local      netip.AddrPort // where the client reached us, or a proxy before us
	from       origin

	connecting chan *connection // the server's connection, once
	abandon    func()           // the attempt to make it
	server     *peer[ftp.ReplyLine]
	serverAddr netip.AddrPort
	inside     Local // our address towards the server, with any port
	serverGone bool  // its stream ended; what it owed is settled first

	stage    stage
	asked    string // the name that USER gave; user once the server has let it in
	user     string
	epsvAll  bool // EPSV ALL was said (RFC 2428 §4)
	midway   bool // between RNFR and RNTO, or REST and its transfer
	draining bool

	queue   []*queued   // commands read ahead
	pending []*exchange // commands that the server has not finally answered
	more    bool        // another line of the server's is already buffered
	unasked int         // replies that nobody asked for
	within  bool        // within a reply that nobody asked for

	security  security
	bandwidth bandwidth // of its transfers
	promises  promises
	fill      int // of the command under way: how often the client had been read

	wait     *portWait // for a data port
	slot     bool      // among those that limits.transfers allows
	data     *transfer // agreed on, not yet used
	transfer *running  // in use
	last     *transfer // done; it may wait for its client's FIN

	timers timers
	began  time.Time
}

// stage is how far a session has come.
type stage int

const (
	connecting stage = iota
	greeted
	loggedIn
)

// A queued command waits for its turn.
type queued struct {
	ftp.Command
	again  int    // as often it came behind itself: NOOPs that keep a connection alive
	sent   bool   // an ABOR that was sent at once; only its reply waits
	fill   int    // how often the client had been read when this was
	answer []byte // its reply
}

// newSession takes over conn.
func newSession(p *Process, rt *Runtime, fe *frontend, conn net.Conn, from origin) *session {
	s := &session{
		p: p, rt: rt, fe: fe,
		id:         p.lastSession.Add(1),
		clientAddr: from.client,
		local:      from.local,
		from:       from,
		connecting: make(chan *connection, 1),
		began:      time.Now(),
	}
	s.log = sessionLog{s}
	s.security.level = 'C'
	s.bandwidth = p.bandwidthOf(fe, s.log)
	s.timers.init()
	s.client = newPeer(conn, ftp.NewCommandReader(conn), rt.timeouts.ClientWrite, &p.cuts, &s.pumps)
	return s
}

// run is the session's goroutine.
func (s *session) run() {
	s.p.metrics.SessionStarted(s.fe.name)
	s.from.log(s.log.Info().Str("frontend", s.fe.name).Stringer("local", s.local)).Msg("session started")
	ctx, abandon := context.WithCancel(s.p.cut)
	s.abandon = abandon
	if s.fe.tls.implicit() {
		if err := s.secureFirst(); err != nil {
			s.connecting = nil
			s.end(err)
			return
		}
	}
	s.p.workers.Go(func() { s.connect(ctx) })
	s.end(s.loop())
}

// loop returns why the session ends, always an *ending.
func (s *session) loop() error {
	var stop <-chan struct{} = s.p.drain // and when that has come, the cut
	for {
		if err := s.advance(); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		s.ask()

		var err error
		select {
		case err = <-s.client.in:
			err = s.onClient(err)
		case err = <-s.serverIn():
			err = s.onServer(err)
		case c := <-s.connecting:
			err = s.onConnected(c)
		case u := <-s.upgraded():
			err = s.onUpgraded(u)
		case l := <-s.leased():
			err = s.onLeased(l)
		case r := <-s.transferResult():
			err = s.onTransferResult(r)
		case <-s.promises.evict:
			err = s.onEvicted()
		case <-s.timers.c():
			err = s.onTimer()
		case <-stop:
			if s.draining {
				err = &ending{reason: endShutdown, text: "Service is shutting down.", cause: context.Cause(s.p.cut)}
			}
			stop, s.draining = s.p.cut.Done(), true
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
	if s.more && len(s.client.out) < maxBatch || s.security.upgrading != nil {
		return nil
	}
	if err := s.client.flush(); err != nil {
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

// say queues a reply of our own.
func (s *session) say(code int, text string) {
	s.client.out = ftp.AppendReply(s.client.out, code, text)
}

// busy tells whether a command is under way: the next has to wait. So it does
// for replies that are already here, which cannot be meant for it (H15).
func (s *session) busy() bool {
	return s.stage == connecting || s.security.upgrading != nil || s.wait != nil || s.transfer != nil || len(s.pending) > 0 || s.more
}

// advance does what is due between two events: queued commands, and the end of
// a session that has nothing left to do.
func (s *session) advance() error {
	for !s.busy() {
		s.serverMovedOn()
		if s.data == nil {
			s.freeSlot()
		}
		switch {
		case len(s.queue) > 0 && (!s.serverGone || s.queue[0].sent):
			if err := s.dispatch(s.next()); err != nil {
				return err
			}
			continue
		case s.serverGone:
			return &ending{reason: endServerGone, text: "Service not available, the server closed the connection.", cause: errServerGone}
		case s.client.ended:
			return &ending{reason: endClientGone, cause: errClientGone}
		case s.draining && !s.midway:
			return &ending{reason: endShutdown, text: "Service is shutting down."}
		case s.promises.asked:
			if err := s.onEvicted(); err != nil {
				return err
			}
		}
		s.timers.setIfUnset(timerIdle, s.rt.timeouts.Idle)
		return nil
	}
	s.timers.clear(timerIdle)
	return nil
}

// next takes the first command out of the queue.
func (s *session) next() *queued {
	q := s.queue[0]
	if q.again > 0 {
		q.again--
		return q
	}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return q
}

// enqueue keeps a command until its turn. Clients keep their connection alive
// with NOOPs as long as a transfer lasts; these must not fill the queue, or an
// ABOR behind them would not be seen.
func (s *session) enqueue(c ftp.Command, fill int) {
	if n := len(s.queue); n > 0 && isNOOP(c) && isNOOP(s.queue[n-1].Command) {
		s.queue[n-1].again++
		return
	}
	s.queue = append(s.queue, &queued{Command: c.Clone(), fill: fill})
}

func isNOOP(c ftp.Command) bool { return c.Verb == "NOOP" && !c.HasArg && c.Fault == nil }

// Commands are read ahead only as far as ABOR needs it: one waits behind a
// command, several behind a transfer.
const (
	maxQueued      = 32
	maxQueuedBytes = 2 * ftp.MaxCommandLine
)

// ask tells the pumps to read on.
func (s *session) ask() {
	if s.server != nil {
		s.server.request()
	}
	if len(s.queue) > 0 && s.transfer == nil && s.wait == nil || len(s.queue) >= maxQueued || s.security.upgrading != nil {
		return
	}
	size := 0
	for _, q := range s.queue {
		size += len(q.Arg)
	}
	if size < maxQueuedBytes {
		s.client.request()
	}
}

func (s *session) serverIn() <-chan error {
	if s.server == nil {
		return nil
	}
	return s.server.in
}

// onClient takes what the client's pump read.
func (s *session) onClient(err error) error {
	g, ok := s.client.received(err)
	if !ok {
		return nil
	}
	if g.err != nil {
		return s.onClientEnd(g.err)
	}
	c, fill := g.msg, s.client.fills
	s.movedOn(fill, false)
	s.timers.clear(timerIdle)
	s.p.metrics.CommandReceived(classOf(c.Verb))
	if len(c.Telnet) > 0 {
		s.client.out = append(s.client.out, c.Telnet...)
	}
	if !s.busy() && len(s.queue) == 0 {
		return s.dispatch(&queued{Command: c, fill: fill})
	}
	if overtaken, err := s.overtake(c); overtaken {
		return err
	}
	s.enqueue(c, fill)
	return nil
}

// onClientEnd decides what the end of the client's stream means. A half-close
// leaves it the answers to what it sent; but a client that is gone in the
// middle of a transfer is ABOR and logout (RFC 959 §4.1.1, H59), except where
// all it wanted to send is here already or QUIT says that it meant to go.
func (s *session) onClientEnd(err error) error {
	gone := &ending{reason: endClientGone, cause: err}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return gone
	}
	switch {
	case s.stage == connecting && len(s.queue) == 0:
		return gone
	case s.transfer == nil || s.quits() || s.transfer.data.senderDone():
		return nil
	}
	return gone
}

// quits tells whether QUIT waits in the queue.
func (s *session) quits() bool {
	for _, q := range s.queue {
		if q.Verb == "QUIT" {
			return true
		}
	}
	return false
}

// clientFailed is the ending after a write to the client failed.
func (s *session) clientFailed(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &ending{reason: endClientSlow, cause: err}
	}
	return &ending{reason: endClientGone, cause: err}
}

// end releases all that the session owns. Nothing of it is left when it
// returns, but transfers that wait for their last FIN.
func (s *session) end(err error) {
	var e *ending
	if !errors.As(err, &e) {
		e = &ending{reason: endInternal, text: "Service not available, closing control connection.", cause: err}
	}
	s.stopUpgrade()
	s.abandonTransfer(e)
	if e.text != "" {
		s.say(421, e.text)
	}
	s.endPromises()
	flushed := s.client.flush()
	s.abandon()
	s.releasePorts()
	s.freeSlot()
	if s.server != nil {
		s.server.close()
	} else if s.connecting != nil {
		if c := <-s.connecting; c.conn != nil {
			_ = c.conn.Close()
		}
	}
	if flushed == nil && e.reason != endClientGone {
		s.lingerClient()
	}
	s.leftPromises()
	s.client.close()
	s.timers.stop()
	s.pumps.Wait()

	s.p.metrics.SessionEnded(s.fe.name, e.reason)
	s.log.Info().Str("reason", e.reason).AnErr("cause", e.cause).Str("user", s.user).
		Dur("duration", time.Since(s.began)).Msg("session ended")
	s.p.dismiss(s.rt, s.fe.name, s.clientAddr.Addr())
}

// lingerClient sends our FIN and waits a little for the client's: closing with
// unread input would reset the connection, and the last reply with it (H57).
func (s *session) lingerClient() {
	if s.client.ended {
		return
	}
	s.p.lingering.Add(1)
	defer s.p.lingering.Add(-1)
	s.client.halfClose()
	limit := time.NewTimer(s.rt.timeouts.Linger)
	defer limit.Stop()
	for !s.client.ended {
		s.client.request()
		select {
		case err := <-s.client.in:
			s.client.received(err)
		case <-limit.C:
			return
		case <-s.p.cut.Done():
			return
		}
	}
}
