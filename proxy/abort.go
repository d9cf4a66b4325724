package proxy

import (
	"fmt"
	"strings"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/transfer"
)

// ABOR during a transfer has two final replies, one for the transfer and one
// for itself; but some servers send a single one (RFC 959 §4.1.3, H32), and some
// answer ABOR first. So the session expects two, and when one does not come it sends a
// NOOP: what comes before that one's reply belongs to the two.

// barrierAfter is how long each of the two replies may take.
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
// before the commands that wait; its reply comes after theirs.
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

// interrupt aborts the running transfer on both sides and tells the server, with the
// Telnet synch where the client has sent one: servers that know no Telnet answer it with
// 500. The reply goes to place, or to the client at once where that is nil.
func (s *session) interrupt(c ftp.Command, place *queued) error {
	d := s.data.delivery
	d.aborted = true
	if d.result != nil {
		d.transfer.Abort(transfer.ErrAborted)
	} else if !s.ebbs(d) {
		d.transfer.Interrupt()
		if err := s.onTransferResult(<-d.transfer.Result()); err != nil {
			return err
		}
	}
	ex := &exchange{owed: true, interrupts: len(s.pending) > 0, place: place}
	if place != nil {
		place.sent = true
	}
	if ex.interrupts && c.Urgent {
		ex.urgent = true
		if err := s.synch(); err != nil {
			return s.serverFailed(err)
		}
	}
	if _, err := s.send(c, ex); err != nil {
		return err
	}
	if ex.interrupts {
		s.timers.Set(timerBarrier, barrierAfter)
	}
	return nil
}

// ebbs lets a running upload go on until the server has answered ABOR, or a moment later: what
// the client sent before its ABOR is meant to be stored.
func (s *session) ebbs(d *delivery) bool {
	return d.accepted && d.direction == transfer.Upload && d.final == nil && len(s.pending) > 0 && d.transfer.Ebb()
}

// synch interrupts the server's transfer: IAC IP, IAC DM, the DM being the
// urgent byte (RFC 854). BSD's ftpd does not read ABOR without it.
func (s *session) synch() error {
	if err := s.server.WriteUrgent([]byte(ftp.TelnetSynch)); err != nil {
		return fmt.Errorf("sending the Telnet synch: %w", err)
	}
	return nil
}

// overdue does what is due when a reply to an aborted transfer, to its ABOR or to the NOOP
// after them does not come. A server that reads commands during a transfer only when
// urgent data arrives gets that now: it reads the ABOR that is there already. Where the
// server knows no Telnet it spoils no more than the NOOP.
func (s *session) overdue() error {
	if n := len(s.pending); n == 2 && s.pending[1].interrupts && !s.pending[1].urgent && s.server.TLS() == 0 {
		if err := s.synch(); err != nil {
			return s.serverFailed(err)
		}
	}
	return s.barrier()
}

// barrier asks the server where its replies are; or, if that was done, it
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

// onAborted takes ABOR's reply, or the transfer's where ABOR was answered first.
func (s *session) onAborted(ex *exchange) {
	transfers := ex.first
	own := &ex.reply
	if transfers != nil && ex.answeredFirst(own.Code) {
		transfers, own = own, transfers
		s.timers.Clear(timerBarrier) // A NOOP after them is not answered yet.
	}
	s.answerABOR(ex, transfers, own)
}

// answerABOR gives the client what it still waits for: the reply to the transfer, where it
// was not known which of the two was that, and ABOR's.
func (s *session) answerABOR(ex *exchange, transfers, own *ftp.Reply) {
	if d := s.data.delivery; d != nil && d.aborted {
		d.final = transfers
		s.conclude()
	}
	switch answer := own.AppendLines(nil); {
	case ex.place != nil:
		ex.place.answer = answer
	case ex.owed:
		s.client.Out = append(s.client.Out, answer...)
		s.notedABOR(ex, own.Code)
	}
}

// answeredFirst tells whether the reply that came first was ABOR's, by the code of the
// second one.
func (ex *exchange) answeredFirst(second int) bool {
	return ftp.ABORFirst(ex.first.Code, second, ex.announced)
}

// isBarrier tells the NOOP that nobody but the session itself has sent.
func (ex *exchange) isBarrier() bool { return ex.verb == "NOOP" && !ex.owed }

// answersBarrier tells whether l answers the NOOP after an ABOR, or after a
// transfer that the client has its verdict on. They are told apart by their
// codes: RFC 959 §5.4 gives ABOR 225, 226 and errors, a transfer 226, 250 and
// errors, and NOOP 200.
func (s *session) answersBarrier(l ftp.ReplyLine) bool {
	n := len(s.pending)
	return n > 1 && s.pending[n-1].isBarrier() && !s.pending[0].taken &&
		ftp.Class(l.Code) == 2 && !ftp.AnswersABOR(l.Code) && l.Code != 250
}

// abortUnanswered tells a server to end a transfer that nobody wants, and for which it may
// still wait: its data connection never came about.
func (s *session) abortUnanswered() error {
	if _, err := s.send(ftp.Command{Verb: "ABOR"}, &exchange{interrupts: true}); err != nil {
		return err
	}
	s.timers.Set(timerBarrier, barrierAfter)
	return nil
}

// endUnanswered ends what the server has left unanswered before the barrier. The
// client hears what is true of a transfer, and of an ABOR that it was successful.
func (s *session) endUnanswered() {
	for !s.pending[0].isBarrier() {
		ex := s.pending[0]
		s.pop(226)
		switch {
		case ex.dataless:
			s.answerDataless(ex)
		case ex.interrupts && ex.first != nil && (ex.first.Code == 226 || ex.answeredFirst(426)):
			s.answerABOR(ex, nil, ex.first)
		case ex.interrupts:
			s.answerABOR(ex, ex.first, &ftp.Reply{Code: 226, Lines: []string{"226 Abort successful."}})
		case ex.delivery != nil && !ex.delivery.answered:
			s.conclude()
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
