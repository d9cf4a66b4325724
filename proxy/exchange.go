package proxy

import (
	"errors"
	"fmt"
	"io"

	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/report"
	"ftproxy/internal/transfer"
)

// An exchange is a command that the server has and has not finally answered
// yet: any number of preliminary replies, then one final reply (RFC 959 §4.2).
// At most two are pending at once, a transfer and the ABOR that ends it, with
// the NOOP that may serve as their barrier.
type exchange struct {
	verb string
	row  verb
	// owed: the client still waits for the reply. Otherwise it is dropped.
	owed bool
	// reply gathers the final reply of a row that reads it whole.
	reply       ftp.Reply
	size        int
	preliminary int // 1xx replies so far

	setup      *setup     // of PASV, EPSV, PORT and EPRT
	delivery   *delivery  // of a transfer
	dataless   bool       // a transfer without a data connection
	announced  bool       // of dataless, or of the transfer that this ABOR interrupts: the server has announced it
	codeless   bool       // lines without a code were passed on for it
	codelessAt int        // how often the client had been read then
	taken      bool       // the client has taken those for its answer
	interrupts bool       // an ABOR sent while a transfer was pending
	urgent     bool       // of such an ABOR: the Telnet synch went before it
	first      *ftp.Reply // of such an ABOR: what came in the place of the transfer's reply
	place      *queued    // of an ABOR that overtook the queue: where its reply goes
}

// forward sends a command to the server and relays what it answers.
func (s *session) forward(q *queued) error {
	_, err := s.send(q.Command, &exchange{owed: true})
	return err
}

// send sends a command to the server. Its reply is due from now on.
func (s *session) send(c ftp.Command, ex *exchange) (*exchange, error) {
	if s.server.gone() { // A write would succeed, and nobody would answer.
		return nil, s.serverFailed(errServerGone)
	}
	if s.server.HalfClosed { // What follows up on a command of a client that has left.
		return nil, &ending{reason: endClientGone, cause: errClientGone}
	}
	ex.verb, ex.row = c.Verb, verbs[c.Verb]
	if s.data.next != nil && (ex.row.class == classTransfer || ex.row.class == "") {
		s.data.next.Await()
		s.data.promises.ServerAsked()
	}
	s.midway = false
	s.server.Out = c.AppendLine(s.server.Out[:0])
	if err := s.server.Flush(); err != nil {
		return nil, s.serverFailed(err)
	}
	s.pending = append(s.pending, ex)
	s.timers.Set(timerReply, s.rt.timeouts.Reply)
	return ex, nil
}

// onServer takes what the server's pump read.
func (s *session) onServer(err error) error {
	g, ok := s.server.Received(err)
	if !ok {
		return nil
	}
	s.server.more = false
	s.timers.Clear(timerLeave)
	if g.Err != nil {
		return s.onServerEnd(g.Err)
	}
	s.server.more = g.Msg.More
	return s.onServerLine(g.Msg)
}

// onReplyLine takes a line of a reply.
func (s *session) onReplyLine(l ftp.ReplyLine) error {
	if l.Code == 421 && !s.holdsReply() {
		return s.relay421(l)
	}
	if len(s.pending) == 0 || s.server.within {
		return s.onUnsolicited(l)
	}
	ex := s.pending[0]
	if ex.dataless && !s.answersBarrier(l) {
		return s.onDataless(ex, l)
	}
	if ftp.Class(l.Code) == 1 {
		return s.onPreliminary(ex, l)
	}
	if s.answersBarrier(l) {
		s.endUnanswered()
		ex = s.pending[0]
	}
	if !ex.gathers() {
		return s.relayFinal(ex, l)
	}
	ex.reply.Add(l)
	if err := s.grow(ex, l, maxGathered); err != nil {
		return err
	}
	if !l.Last {
		return nil
	}
	s.pop(l.Code)
	switch {
	case ex.delivery != nil:
		return s.onTransferFinal(ex)
	case ex.row.reply != nil:
		return ex.row.reply(s, ex)
	case ex.interrupts, ex.place != nil:
		s.onAborted(ex)
	}
	return nil
}

// gathers tells whether the final reply is read whole before anything is done
// with it.
func (ex *exchange) gathers() bool {
	return ex.delivery != nil || ex.dataless || ex.row.reply != nil || ex.interrupts || ex.place != nil || !ex.owed
}

// maxNotedLines is how much of an error is kept for the log.
const maxNotedLines = 16

// relayFinal passes a line of a final reply on.
func (s *session) relayFinal(ex *exchange, l ftp.ReplyLine) error {
	if ex.row.noted != nil && ftp.Class(l.Code) >= 4 && len(ex.reply.Lines) < maxNotedLines {
		ex.reply.Add(l)
	}
	if err := s.relay(ex, l); err != nil || !l.Last {
		return err
	}
	s.pop(l.Code)
	if s.data.next != nil && ex.row.class == "" {
		s.data.next.Refuse()
	}
	s.midway = ftp.Class(l.Code) == 3 && ex.row.has(paired)
	if ex.row.noted != nil {
		was := s.stage
		ex.row.noted(s, ex, l.Code)
		if was != loggedIn && s.stage == loggedIn && s.server.Level != s.serverWants() {
			return s.sendLevel(&exchange{}) // Here nothing of the client's can be in its way (H33).
		}
	}
	if ex.verb == "QUIT" && ftp.Class(l.Code) == 2 {
		return &ending{reason: endQuit}
	}
	return nil
}

// relay passes a reply line on. Timer reply is for a server that is silent, not
// for a long reply: that has its bound in bytes.
func (s *session) relay(ex *exchange, l ftp.ReplyLine) error {
	if err := s.grow(ex, l, maxReply); err != nil {
		return err
	}
	s.client.Out = append(append(s.client.Out, l.Text...), '\r', '\n')
	if ex.delivery == nil {
		s.timers.Set(timerReply, s.rt.timeouts.Reply)
	}
	return nil
}

// onPreliminary takes a line of a 1xx reply. It ends no command; the first one
// to a transfer says that the server accepted it.
func (s *session) onPreliminary(ex *exchange, l ftp.ReplyLine) error {
	if err := s.delay(ex, l); err != nil {
		return err
	}
	if ex.row.class == "" && ex.delivery == nil && s.data.next != nil && s.mayTransfer() != nil {
		s.dropData() // As for a verb that is known, which is refused.
	}
	if ex.row.class == "" && ex.delivery == nil && s.data.next != nil {
		// A verb that we do not know moves data, too: as LIST does, since
		// no known verb that is not in the table uploads.
		s.begin(ex, transfer.Download, "")
		s.letFlow(ex.delivery, true)
		s.timers.Clear(timerReply)
		if err := s.relay(ex, l); err != nil {
			return err
		}
		return s.abortIfQueued()
	}
	if d := ex.delivery; d != nil && ex.preliminary > 1 && s.hasFailed(d) {
		return s.onLastWord(d, l)
	}
	switch {
	case ex.delivery == nil: // relay sets timer reply.
	case l.First && !ex.delivery.accepted && !ex.delivery.answered:
		s.letFlow(ex.delivery, true)
		s.timers.Clear(timerReply)
	}
	switch {
	case !ex.owed || ex.place != nil || ex.first != nil:
		return s.grow(ex, l, maxReply)
	case ex.delivery != nil && s.namesInside(l.Text):
		if l.Last {
			s.say(l.Code, textOpening)
		}
		return s.grow(ex, l, maxReply)
	}
	return s.relay(ex, l)
}

// pop ends the first pending exchange, which was answered with code.
func (s *session) pop(code int) {
	taken := s.pending[0].taken
	s.pending = s.pending[1:]
	s.forgive()
	s.timers.Clear(timerBarrier)
	s.timers.Clear(timerCodeless)
	if len(s.pending) == 0 {
		s.pending = nil
		s.timers.Clear(timerReply)
		return
	}
	s.timers.Set(timerReply, s.rt.timeouts.Reply)
	if taken { // The barrier's own reply comes next, unless this was it.
		s.timers.Set(timerBarrier, codelessBarrier)
		return
	}
	if next := s.pending[0]; next.interrupts || next.isBarrier() && !ftp.AnswersABOR(code) {
		s.timers.Set(timerBarrier, barrierAfter)
	}
}

// onUnsolicited drops a reply to no command. It must not become the answer to the
// next one, so a server that goes on is ended with (H15). One that answers each command
// twice is not: see maxUnsolicited.
func (s *session) onUnsolicited(l ftp.ReplyLine) error {
	if s.server.within = !l.Last; l.Last {
		s.timers.Clear(timerSurplus)
	}
	if s.server.extent.Endless(l) {
		return s.tooLong(endUnsolicited, textOutOfStep, fmt.Errorf("%w: an unsolicited one, over %d bytes or %d lines",
			ftp.ErrLineTooLong, ftp.MaxUnsolicitedBytes, ftp.MaxUnsolicitedLines))
	}
	if !l.First {
		return nil
	}
	s.server.unsolicited++
	s.p.metrics.UnsolicitedReply(s.backend.Name)
	s.log.Often(report.Unsolicited).Int("code", l.Code).Text("text", string(l.Text)).Msg(report.Unsolicited.Message)
	if s.server.unsolicited >= maxUnsolicited {
		return &ending{reason: endUnsolicited, text: textOutOfStep}
	}
	return nil
}

// relay421 passes a 421 on, asked for or not, and ends the session with it
// (RFC 959 §5.4, H16).
func (s *session) relay421(l ftp.ReplyLine) error {
	tooLong := s.server.extent.Endless(l)
	if !tooLong {
		s.client.Out = append(append(s.client.Out, l.Text...), '\r', '\n')
		if !l.Last {
			return nil
		}
		s.tellLeaves(l.Text)
	}
	if s.data.delivery != nil {
		s.data.delivery.answered = true
	}
	if tooLong { // Our own 421 ends it: all of it is one reply.
		return s.tooLong(endServerBad, textTooLong, fmt.Errorf("%w: 421 over %d bytes or %d lines",
			ftp.ErrLineTooLong, ftp.MaxUnsolicitedBytes, ftp.MaxUnsolicitedLines))
	}
	return &ending{reason: endServer421, cause: logline.PeerText(string(l.Text))}
}

// onServerEnd decides what the end of the server's stream means. A final reply
// that waits for its data is still delivered with all of it; otherwise what
// was under way has failed.
func (s *session) onServerEnd(err error) error {
	if odd := s.endOdd(); odd != nil {
		return odd
	}
	s.server.lost = true
	if s.holdsReply() {
		return nil
	}
	s.tellLeaves(nil)
	return s.serverFailed(err)
}

// serverFailed is the ending after the server's connection failed.
func (s *session) serverFailed(err error) error {
	s.server.lost = true
	e := &ending{reason: endServerGone, text: "Service not available, the server closed the connection.", cause: err}
	if errors.Is(err, ftp.ErrReplySyntax) || errors.Is(err, ftp.ErrLineTooLong) {
		e.reason, e.text = endServerBad, "Service not available, the server does not speak FTP."
	}
	if errors.Is(err, io.EOF) {
		e.cause = errServerGone
	}
	if s.server.HalfClosed && e.reason == endServerGone { // As it should.
		e.reason = endClientGone
	}
	return e
}
