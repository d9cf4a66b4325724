package proxy

import (
	"errors"

	"ftproxy/internal/ftp"
)

// running is a transfer whose command the server has, and what is known of its
// outcome so far: the server's final reply and the result of the legs, in any
// order. When both are known the client gets one final reply that is true.
type running struct {
	data      *transfer
	direction direction
	verb      string
	path      masked
	accepted  bool // the server said 1xx, or 2xx without it
	aborted   bool // the client said ABOR
	// preliminary counts the server's 1xx replies.
	preliminary int
	answered    bool       // the client has its final reply
	final       *ftp.Reply // the server's
	result      *result
}

// doTransfer starts a transfer on the data connection that was agreed on. RFC
// 959 §3.2 has a default without one, the client's control port; through a
// proxy that can reach nobody, so it is refused (H44).
func (s *session) doTransfer(q *queued) error {
	if err := s.mayTransfer(); err != nil {
		return err
	}
	if s.data == nil {
		return refuse(425, textSetupFirst, nil)
	}
	if r := s.data.over(); r != nil {
		s.data = nil
		s.timers.clear(timerUnused)
		s.log.often(dataLost, s.fe.name, s.clientAddr.Addr()).Err(r.err).Masked("user", s.user).Verb(q.Verb).Msg(dataLost.Message)
		if errors.Is(r.err, errNotReused) {
			return refuse(522, textNotReused, r.err)
		}
		return refuse(425, textNoConnect, r.err)
	}
	ex, err := s.send(q.Command, &exchange{owed: true})
	if err != nil {
		return err
	}
	s.begin(ex, verbs[q.Verb].direction, s.log.show(q.Arg))
	return s.abortIfQueued()
}

// begin makes the data connection that was agreed on the one of ex.
func (s *session) begin(ex *exchange, d direction, path masked) {
	s.transfer = &running{data: s.data, direction: d, verb: ex.verb, path: path}
	ex.transfer = s.transfer
	s.data = nil
	s.timers.clear(timerUnused)
	s.timers.set(timerRefused, s.rt.timeouts.DataConnect)
}

// accepted lets the data flow: the server has said yes.
func (s *session) accepted(t *running, announced bool) {
	t.accepted = true
	s.timers.clear(timerRefused)
	t.data.accept(t.direction, announced)
	s.p.metrics.TransferStarted(t.direction.String())
}

func (s *session) transferResult() <-chan *result {
	if s.transfer == nil || s.transfer.result != nil {
		return nil
	}
	return s.transfer.data.results
}

func (s *session) onTransferResult(r *result) error {
	s.transfer.result = r
	return s.settle()
}

// onTransferFinal takes the server's final reply to a transfer command.
func (s *session) onTransferFinal(ex *exchange) error {
	t := ex.transfer
	if t.answered { // It came after the verdict.
		return nil
	}
	t.final = &ex.reply
	if ftp.Class(t.final.Code) == 2 {
		if !t.accepted { // 226 at once, without 150 (H58).
			s.accepted(t, false)
		}
		t.data.finish()
	}
	return s.settle()
}

// holdsReply tells whether the server has answered all, and only the data is
// still on its way to the client. What the server does then must not cut it.
func (s *session) holdsReply() bool { return s.transfer != nil && s.transfer.final != nil }

// settle goes on as far as what is known of the transfer allows.
func (s *session) settle() error {
	t := s.transfer
	switch {
	case t.final == nil && t.result.err == nil:
		s.timers.set(timerFinal, s.rt.timeouts.FinalReply)
	case t.final == nil:
		// The server notices the reset and says so; the client need not wait
		// for one that does not.
		s.timers.set(timerVerdict, s.rt.timeouts.Linger)
	case t.result != nil:
		s.deliver()
	case !t.accepted && endsData(t.final.Code):
		t.data.abort(errRefused)
	case !t.accepted:
		s.keepData()
	case ftp.Class(t.final.Code) >= 4:
		// The server ends its data connection as the error wants it, and so
		// do we; but not for ever.
		s.timers.set(timerTail, s.rt.timeouts.Linger)
	}
	return nil
}

// endsData tells the refusals of a transfer that are about its data connection. A server
// that says so has given it up.
func endsData(code int) bool { return code == 425 || code == 426 }

// keepData gives the client a server's refusal. A refused transfer ends nothing: what
// was agreed on, open or not, serves the next transfer command, as it does with vsftpd,
// pure-ftpd and others. A client that wants another data connection says so.
func (s *session) keepData() {
	t := s.transfer
	s.answer(t, t.final.Code, "")
	t.result = new(result)
	s.endTransfer(t.final.Code)
	s.last, s.data = nil, t.data
	s.data.refuse()
	s.timers.set(timerUnused, s.rt.timeouts.DataConnect)
}

// deliver gives the client the final reply: the server's, where it is true.
func (s *session) deliver() {
	t := s.transfer
	code, text := t.verdict()
	s.answer(t, code, text)
	s.endTransfer(code)
}

// answer writes the final reply: text, or where that is empty what the server
// said, unless it names addresses that are not the client's affair.
func (s *session) answer(t *running, code int, text string) {
	if text == "" && s.namesInside([]byte(t.final.Text())) {
		if text = textFailed; ftp.Class(code) == 2 {
			text = textComplete
		}
	}
	if text != "" {
		s.say(code, text)
		return
	}
	s.client.out = t.final.AppendLines(s.client.out)
}

// deliverEarly gives the client the verdict on a failed transfer that the
// server does not speak about. Its reply is dropped when it comes; until then
// no other command is sent.
func (s *session) deliverEarly() {
	code, text := s.transfer.verdict()
	s.say(code, text)
	s.pending[0].owed = false
	s.endTransfer(code)
	s.timers.set(timerReply, s.rt.timeouts.Reply)
}

// hasFailed tells whether the transfer is over and has failed. Its result may be
// on its way.
func (s *session) hasFailed(t *running) bool {
	if t.result == nil {
		select {
		case r := <-t.data.results:
			t.result = r
		default:
			return false
		}
	}
	return t.result.err != nil
}

// onLastWord takes a further 1xx after the transfer has failed: pure-ftpd 1.0.50
// says no more than "150 0.3 seconds (measured here)" then, and swallows an
// urgent ABOR. So the client gets its verdict, and a NOOP tells where the server
// is.
func (s *session) onLastWord(t *running, l ftp.ReplyLine) error {
	if !l.Last || t.answered {
		return nil
	}
	s.deliverEarly()
	return s.barrier()
}

// verdict is the code of the final reply, and the text where it is ours.
func (t *running) verdict() (code int, text string) {
	r := t.result
	switch {
	case t.final != nil && (!t.accepted || r.err == nil):
		return t.final.Code, ""
	case t.final != nil && t.explains(t.final.Code) && (r.opened || t.aborted || r.failed == serverSide):
		return t.final.Code, ""
	case !r.opened && !t.aborted:
		// The client's leg did not come about. What the server says of its
		// own is not the client's affair.
		if errors.Is(r.err, errNotReused) {
			return 522, textNotReused // RFC 4217 §10.
		}
		return 425, textNoConnect
	}
	return 426, textAborted // 226 would be a lie (H12).
}

// explains tells whether the server's reply says what happened to a transfer
// that failed. After an abort only 426 does (RFC 959 §4.1.3): ftpserverlib finds
// its connection reset before it reads ABOR, and says 550 and both addresses of
// it, and Python's ftplib takes nothing but 225, 226 and 426. In the same way a
// 5xx is wrong where it was not the server's side that failed.
func (t *running) explains(code int) bool {
	switch {
	case t.aborted:
		return code == 426
	case t.result.failed != serverSide:
		return ftp.Class(code) == 4
	}
	return ftp.Class(code) >= 4
}

// finalTimeout ends a session whose server does not answer after the data.
func (s *session) finalTimeout() error {
	s.say(451, "The server does not confirm the transfer.")
	s.endTransfer(451)
	return &ending{reason: endReply, text: "Service not available, the server does not answer."}
}

// abandonTransfer ends what is under way when the session ends.
func (s *session) abandonTransfer(e *ending) {
	s.dropData()
	t := s.transfer
	if t == nil {
		return
	}
	why := errSessionEnd
	switch e.reason {
	case endClientGone, endClientSlow:
		why = errClientGone
	case endServerGone, endServer421, endServerBad, endReply:
		why = errServerGone
	}
	if t.result == nil {
		t.data.abort(why)
		r := <-t.data.results
		t.result = r
	}
	if errors.Is(why, errClientGone) && !s.server.gone() && t.final == nil {
		// A client that is gone is ABOR and logout (H59). It is only a
		// courtesy: the connections end right behind.
		if s.synch() == nil {
			_ = s.server.write([]byte("ABOR\r\n"))
		}
	}
	if t.answered { // by the server's 421
		s.endTransfer(421)
		return
	}
	code, text := t.verdict()
	s.answer(t, code, text)
	s.endTransfer(code)
}

// endTransfer logs and counts a transfer whose final reply is known, and lets
// the next command through.
func (s *session) endTransfer(code int) {
	t := s.transfer
	s.transfer, s.last = nil, t.data
	t.answered = true
	for _, id := range []timerID{timerRefused, timerFinal, timerVerdict, timerTail} {
		s.timers.clear(id)
	}
	if len(s.pending) == 0 {
		s.timers.clear(timerReply)
	}
	if t.accepted || t.aborted || endsData(code) {
		s.tellUnmet()
	}
	if t.accepted { // So it was counted as started.
		s.p.metrics.TransferEnded(t.direction.String(), t.outcome(code), t.result.bytes)
	}
	s.logTransfer(t, code)
}
