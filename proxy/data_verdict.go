package proxy

import (
	"errors"

	"ftproxy/internal/ftp"
	"ftproxy/internal/identify"
	"ftproxy/internal/metrics"
	"ftproxy/internal/transfer"
)

// A delivery is a transfer whose command the server has, and what is known of its
// outcome so far: the server's final reply and the result of the legs, in any
// order. When both are known the client gets one final reply that is true.
type delivery struct {
	transfer  *transfer.Transfer
	direction transfer.Direction
	verb      string
	path      masked
	accepted  bool       // the server said 1xx, or 2xx without it
	aborted   bool       // the client said ABOR
	answered  bool       // the client has its final reply
	final     *ftp.Reply // the server's
	result    *transfer.Result
	counted   *metrics.Transfer // from accepted on
}

func (s *session) transferResult() <-chan *transfer.Result {
	if s.data.delivery == nil || s.data.delivery.result != nil {
		return nil
	}
	return s.data.delivery.transfer.Result()
}

func (s *session) onTransferResult(r *transfer.Result) error {
	s.data.delivery.result = r
	return s.decide()
}

// onTransferFinal takes the server's final reply to a transfer command.
func (s *session) onTransferFinal(ex *exchange) error {
	d := ex.delivery
	d.transfer.Answered()
	if d.aborted && d.result == nil { // An upload that ebbs, until now.
		d.result = <-d.transfer.Result()
	}
	if d.aborted && len(s.pending) > 0 && s.pending[0].interrupts { // It may be ABOR's.
		abor := s.pending[0]
		abor.first, abor.announced = &ex.reply, d.accepted
		if !d.answered && d.result.Err == nil && ftp.Class(ex.reply.Code) == 2 {
			s.timers.Clear(timerFinal)
			return nil // All the data is delivered: ABOR's reply tells what became of it.
		}
	}
	if d.answered { // It came after the verdict.
		return nil
	}
	d.final = &ex.reply
	if ftp.Class(d.final.Code) == 2 {
		if !d.accepted { // 226 at once, without 150 (H58).
			s.letFlow(d, false)
		}
		d.transfer.Finish()
	}
	return s.decide()
}

// holdsReply tells whether the server has answered all, and only the data is
// still on its way to the client. What the server does then must not cut it.
func (s *session) holdsReply() bool { return s.data.delivery != nil && s.data.delivery.final != nil }

// decide goes on as far as what is known of the transfer allows.
func (s *session) decide() error {
	d := s.data.delivery
	switch {
	case d.final == nil && d.result.Err == nil:
		s.timers.Set(timerFinal, s.rt.timeouts.FinalReply)
	case d.final == nil:
		// The server notices the reset and says so; the client need not wait
		// for one that does not.
		s.timers.Set(timerVerdict, s.rt.timeouts.Linger)
	case d.result != nil:
		s.conclude()
	case !d.accepted && ftp.EndsData(d.final.Code):
		d.transfer.Abort(transfer.ErrRefused)
	case !d.accepted:
		s.keepData()
	case ftp.Class(d.final.Code) >= 4 && !d.transfer.ServerCame():
		// No data can follow: the server has given up what never came about.
		d.transfer.Abort(transfer.ErrServerError)
	case ftp.Class(d.final.Code) >= 4:
		// The server ends its data connection as the error wants it, and so
		// do we; but not for ever.
		s.timers.Set(timerTail, s.rt.timeouts.Linger)
	}
	return nil
}

// keepData gives the client a server's refusal. A refused transfer ends nothing: what
// was agreed on, open or not, serves the next transfer command, as it does with vsftpd,
// pure-ftpd and others. A client that wants another data connection says so.
func (s *session) keepData() {
	d := s.data.delivery
	s.answerTransfer(d, d.final.Code, "")
	d.result = new(transfer.Result)
	s.endTransfer(d.final.Code)
	s.data.last, s.data.next = nil, d.transfer
	s.data.next.Refuse()
	s.timers.Set(timerUnused, s.rt.timeouts.DataConnect)
}

// conclude gives the client the final reply: the server's, where it is true.
func (s *session) conclude() {
	d := s.data.delivery
	code, text := d.verdict()
	s.answerTransfer(d, code, text)
	s.endTransfer(code)
}

// answerTransfer writes the final reply: text, or where that is empty what the server
// said, unless it names addresses that are not the client's affair.
func (s *session) answerTransfer(d *delivery, code int, text string) {
	if text == "" && s.namesInside([]byte(d.final.Text())) {
		if text = textFailed; ftp.Class(code) == 2 {
			text = textComplete
		}
	}
	if text != "" {
		s.say(code, text)
		return
	}
	s.client.Out = d.final.AppendLines(s.client.Out)
}

// concludeAlone gives the client the verdict on a failed transfer that the
// server does not speak about. Its reply is dropped when it comes; until then
// no other command is sent.
func (s *session) concludeAlone() {
	code, text := s.data.delivery.verdict()
	s.say(code, text)
	s.pending[0].owed = false
	s.endTransfer(code)
	s.timers.Set(timerReply, s.rt.timeouts.Reply)
}

// verdictOverdue is for a server that says nothing of a transfer that has failed. It may
// say no more (pure-ftpd under TLS, when the client has closed its data connection): a
// NOOP tells. Where it had no data connection that broke, it may still wait for one, and
// answer a NOOP meanwhile: then it is told to abort.
func (s *session) verdictOverdue() error {
	d := s.data.delivery
	s.concludeAlone()
	if len(s.pending) == 1 && !d.transfer.ServerCame() {
		return s.abortUnanswered()
	}
	return s.barrier()
}

// hasFailed tells whether the transfer is over and has failed. Its result may be
// on its way.
func (s *session) hasFailed(d *delivery) bool {
	if d.result == nil {
		select {
		case r := <-d.transfer.Result():
			d.result = r
		default:
			return false
		}
	}
	return d.result.Err != nil
}

// onLastWord takes a further 1xx after the transfer has failed: pure-ftpd 1.0.50
// says no more than "150 0.3 seconds (measured here)" then, and swallows an
// urgent ABOR. So the client gets its verdict, and a NOOP tells where the server
// is.
func (s *session) onLastWord(d *delivery, l ftp.ReplyLine) error {
	if !l.Last || d.answered {
		return nil
	}
	s.concludeAlone()
	return s.barrier()
}

// known is what is known of the transfer's outcome.
func (d *delivery) known() transfer.Answer {
	a := transfer.Answer{Accepted: d.accepted, Aborted: d.aborted, Result: d.result}
	if d.final != nil {
		a.Final = d.final.Code
	}
	return a
}

// verdict is the code of the final reply, and the text where it is ours.
func (d *delivery) verdict() (code int, text string) {
	switch code, servers := d.known().Verdict(); {
	case servers:
		return code, ""
	case code == 425 && errors.Is(d.result.Err, identify.ErrNotReused):
		return 522, textNotReused // RFC 4217 §10.
	case code == 425:
		return code, textNoConnect
	default:
		return code, textAborted
	}
}

// finalTimeout ends a session whose server does not answer after the data.
func (s *session) finalTimeout() error {
	s.say(451, "The server does not confirm the transfer.")
	s.endTransfer(451)
	return &ending{reason: endReply, text: "Service not available, the server does not answer."}
}

// abandonTransfer ends what is under way when the session ends.
func (s *session) abandonTransfer(e *ending) {
	if e.reason == endQuit || e.reason == endClientGone || e.reason == endPortUnused {
		s.tellUnused()
	}
	s.dropData()
	d := s.data.delivery
	if d == nil {
		return
	}
	why := transfer.ErrSessionEnd
	switch e.reason {
	case endClientGone, endClientSlow:
		why = errClientGone
	case endServerGone, endServer421, endServerBad, endReply:
		why = errServerGone
	}
	if d.result == nil {
		d.transfer.Abort(why)
		r := <-d.transfer.Result()
		d.result = r
	}
	if errors.Is(why, errClientGone) && !s.server.gone() && d.final == nil {
		// A client that is gone is ABOR and logout (H59). It is only a
		// courtesy: the connections end right after it. The synch comes last:
		// servers that know no Telnet do not take it for a part of ABOR.
		if s.server.Write([]byte("ABOR\r\n")) == nil && s.server.TLS() == 0 {
			_ = s.synch()
		}
	}
	if d.answered { // by the server's 421
		s.endTransfer(421)
		return
	}
	code, text := d.verdict()
	s.answerTransfer(d, code, text)
	s.endTransfer(code)
}

// endTransfer logs and counts a transfer whose final reply is known, and lets
// the next command through.
func (s *session) endTransfer(code int) {
	d := s.data.delivery
	s.data.delivery, s.data.last = nil, d.transfer
	d.answered = true
	s.data.givenUp = !d.accepted || d.result.Err != nil
	for _, id := range []timerID{timerRefused, timerFinal, timerVerdict, timerTail} {
		s.timers.Clear(id)
	}
	if len(s.pending) == 0 {
		s.timers.Clear(timerReply)
	}
	if d.accepted || d.aborted || ftp.EndsData(code) {
		s.data.promises.ClientTold()
	}
	s.tellFailure(d, code)
	r := s.record(d, code)
	s.tell(d, &r)
}
