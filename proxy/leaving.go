package proxy

import (
	"errors"
	"io"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// How a session ends, and what the end of its client means.

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
	case s.stage == connecting && len(s.client.queue) == 0:
		return gone
	case s.data.delivery == nil || s.client.quits() || s.data.delivery.transfer.SenderDone():
		return nil
	case s.data.delivery.direction == transfer.Upload:
		s.timers.Set(timerSender, senderGrace)
		return nil
	}
	return gone
}

// senderGrace is how much later than its control connection the data of a client may end. ffmpeg
// closes both at once after its last bytes, and they come by different ways.
const senderGrace = 250 * time.Millisecond

// leaveAfter is how long the server may take to answer a client that has ended its
// stream, before it is told so by our own FIN. Without that a server that never
// answers would keep the session of a client that is gone until timer reply.
//
// vsftpd 3.0, ProFTPD 1.3, pure-ftpd 1.0, pyftpdlib 1.5, inetutils and ftpserverlib
// answer what they were sent before they look at the end of the stream, also where
// the answer takes 4 s, as that to a wrong password does (TestServersAnswerBeforeEOF).
// But servers that do several things at once may not, and all but vsftpd and inetutils
// cut a transfer as soon as they see it. So there is none during a transfer, and
// none while lines of a reply come.
const leaveAfter = 5 * time.Second

// mayLeave starts timer leave where the client may be gone while the server owes an
// answer: its stream has ended, or is not read because commands wait.
func (s *session) mayLeave() {
	if s.data.delivery == nil && (len(s.pending) > 0 || s.stage == connecting) && (s.client.Ended || len(s.client.queue) > 0) {
		s.timers.SetIfUnset(timerLeave, leaveAfter)
	}
}

// lookForClient does what timer leave asks for. A client that has reset its connection
// gets no answer; one that has ended its stream does, but will say no more.
func (s *session) lookForClient() error {
	switch {
	case s.data.delivery != nil || len(s.pending) == 0 && s.stage != connecting:
	case tcp.Over(s.client.Conn):
		return &ending{reason: endClientGone, cause: errClientGone}
	case s.server != nil && s.client.Ended && len(s.client.queue) == 0 && !s.server.HalfClosed:
		s.server.HalfClose()
	}
	return nil
}

// overtakeQUIT ends the wait for a data port, and then takes its turn.
func (s *session) overtakeQUIT(ftp.Command) (done bool, err error) {
	if s.data.wait != nil {
		s.data.wait.cancel()
	}
	return false, nil
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
	s.data.promises.End()
	flushed := s.client.Flush()
	s.stopConnecting()
	s.releasePorts()
	s.freeSlot()
	switch {
	case s.server != nil && s.leavesBeforeLogin(e):
		s.server.Reset()
	case s.server != nil:
		s.server.Close()
	}
	if flushed == nil && e.reason != endClientGone {
		s.lingerClient()
	}
	s.leftPromises()
	s.client.Close()
	s.timers.Stop()
	s.client.Wait()
	if s.server != nil {
		s.server.Wait()
		s.server.Place.Release()
	}
	if s.left != nil {
		s.left.Release()
	}

	s.p.metrics.SessionEnded(s.fe.name, e.reason)
	s.log.Info().Str("reason", word(e.reason)).AnErr("cause", e.cause).Masked("user", s.user).
		Dur("duration", time.Since(s.Began)).Msg("session ended")
	s.p.sessions.Remove(s.Entry)
}

// leavesBeforeLogin tells whether a client leaves, or has to, before its login. Then its server's
// connection is reset: who closes first keeps the connection's port for a minute
// (TIME_WAIT), and health checks and scanners, which connect and leave, would use up
// our ports towards the server. A reset keeps none, and the server loses nothing.
func (s *session) leavesBeforeLogin(e *ending) bool {
	if s.stage == loggedIn || s.server.gone() {
		return false
	}
	switch e.reason {
	case endClientGone, endClientSlow, endTLS, endLogin:
		return true
	}
	return false
}

// lingerClient sends our FIN and waits a little for the client's: closing with
// unread input would reset the connection, and the last reply with it (H57).
func (s *session) lingerClient() {
	if s.client.Ended {
		return
	}
	s.stage = lingering
	s.show()
	s.client.HalfClose()
	limit := time.NewTimer(s.rt.timeouts.Linger)
	defer limit.Stop()
	for !s.client.Ended && s.HardStopped() == nil {
		s.client.Request()
		select {
		case err := <-s.client.In():
			s.client.Received(err)
		case <-limit.C:
			return
		case <-s.News():
		}
	}
}
