package proxy

import (
	"fmt"
	"strings"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/transfer"
)

// ABOR during a transfer has two final replies, one for the transfer and one
// for itself; but some servers send a single one (RFC 959 §4.1.3, H32). So the
// session expects two, and when the second does not come it sends a NOOP: what
// comes before that one's reply belongs to ABOR.

// barrierAfter is how long the second reply may take.
const barrierAfter = 2 * time.Second

// doABOR is ABOR when nothing is under way: it ends at most a data connection
// that was agreed on (RFC 2428 §3), and has one reply.
func (s *session) doABOR(q *queued) error {
	s.dropData()
	return s.forward(q)
}

// notedABOR takes ABOR's reply: what the client was told before is void.
func (s *session) notedABOR(*exchange, int) {
	if s.data.next == nil {
		s.data.promises.ClientTold()
	}
}

// overtakeABOR ends the wait for a data port, and then takes its turn; or it ends
// the running transfer.
func (s *session) overtakeABOR(c ftp.Command) (done bool, err error) {
	switch {
	case s.data.wait != nil:
		s.data.wait.cancel()
		return false, nil
	case s.data.delivery == nil || s.data.delivery.aborted:
		return false, nil
	}
	return true, s.abortTransfer(c)
}

// abortTransfer ends the running transfer at once. ABOR goes to the server
// before the commands that wait; its reply keeps its place behind theirs.
func (s *session) abortTransfer(c ftp.Command) error {
	var place *queued
	if len(s.client.queue) > 0 {
		place = &queued{Command: c.Clone()}
		s.client.queue = append(s.client.queue, place)
	}
	return s.interrupt(c, place)
}

// abortIfQueued does the same for an ABOR that was read before the transfer
// began, as when PASV, RETR and ABOR come in one segment.
func (s *session) abortIfQueued() error {
	for _, q := range s.client.queue {
		if q.Verb == "ABOR" && q.Fault == nil && !q.sent {
			return s.interrupt(q.Command, q)
		}
	}
	return nil
}

// interrupt aborts the running transfer on both sides and tells the server. The
// reply goes to place, or to the client at once where that is nil.
func (s *session) interrupt(c ftp.Command, place *queued) error {
	d := s.data.delivery
	d.aborted = true
	d.transfer.Abort(transfer.ErrAborted)
	if d.result == nil {
		if err := s.onTransferResult(<-d.transfer.Result()); err != nil {
			return err
		}
	}
	ex := &exchange{owed: true, interrupts: len(s.pending) > 0, place: place}
	if place != nil {
		place.sent = true
	}
	if ex.interrupts {
		if err := s.synch(); err != nil {
			return s.serverFailed(err)
		}
	}
	_, err := s.send(c, ex)
	return err
}

// synch interrupts the server's transfer: IAC IP, IAC DM, the DM being the
// urgent byte (RFC 854). BSD's ftpd does not read ABOR without it.
func (s *session) synch() error {
	if err := s.server.WriteUrgent([]byte(ftp.TelnetSynch)); err != nil {
		return fmt.Errorf("sending the Telnet synch: %w", err)
	}
	return nil
}

// barrier does what is due when a reply to ABOR, or to the NOOP behind it, does
// not come: it asks the server where its replies are; or, if that was done, it
// concludes that what counted as ABOR's reply, an error, was NOOP's.
func (s *session) barrier() error {
	if s.pending[0].isBarrier() {
		s.pop(0)
		return nil
	}
	if s.pending[len(s.pending)-1].isBarrier() {
		return nil
	}
	s.log.Debug().Msg("sending NOOP to learn where the server is")
	_, err := s.send(ftp.Command{Verb: "NOOP"}, &exchange{})
	return err
}

// isBarrier tells the NOOP that nobody but the session itself has sent.
func (ex *exchange) isBarrier() bool { return ex.verb == "NOOP" && !ex.owed }

// answersBarrier tells whether l answers the NOOP behind an ABOR, or behind a
// transfer that the client has its verdict on. They are told apart by their
// codes: RFC 959 §5.4 gives ABOR 225, 226 and errors, a transfer 226, 250 and
// errors, and NOOP 200.
func (s *session) answersBarrier(l ftp.ReplyLine) bool {
	n := len(s.pending)
	return n > 1 && s.pending[n-1].isBarrier() && !s.pending[0].settled &&
		ftp.Class(l.Code) == 2 && !isAborted(l.Code) && l.Code != 250
}

// isAborted tells the codes that only ABOR is answered with.
func isAborted(code int) bool { return code == 225 || code == 226 }

// settleUnanswered ends what the server has left unanswered before the barrier.
// An ABOR is answered in its stead; a transfer was.
func (s *session) settleUnanswered() {
	for !s.pending[0].isBarrier() {
		ex := s.pending[0]
		s.pop(226)
		answer := ftp.AppendReply(nil, 226, "Abort successful.")
		switch {
		case ex.place != nil:
			ex.place.answer = answer
		case ex.owed:
			s.client.Out = append(s.client.Out, answer...)
		}
	}
}

// overtakeSTAT answers STAT without argument during a transfer.
func (s *session) overtakeSTAT(c ftp.Command) (done bool, err error) {
	d := s.data.delivery
	if d == nil || strings.TrimSpace(string(c.Arg)) != "" || len(s.client.queue) > 0 {
		return false, nil
	}
	s.say(211, fmt.Sprintf("%s in progress, %d bytes transferred so far.", d.verb, d.transfer.Bytes()))
	return true, nil
}
