package proxy

import (
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/report"
)

// Replies that have not the form of RFC 959 §4.2, and lines that are no reply (H88). Clients
// skip them or take what they can use, so no session ends for them. A reply is
// still matched to a command, never to its text.

// How long the server must be silent before a reply without a proper end is taken for whole.
const (
	oddAfter = time.Second
	// listAfter is for a reply of one line to a command whose replies are lists.
	listAfter = 200 * time.Millisecond
	// codelessAfter is for a command that was answered by lines without a code, once the
	// client has gone on to the next.
	codelessAfter = 500 * time.Millisecond
	// codelessBarrier is for the second of two replies, where the first was either to that
	// command or to the NOOP after it.
	codelessBarrier = time.Second
)

// onServerLine takes a line of the server's.
func (s *session) onServerLine(l ftp.ReplyLine) error {
	switch {
	case s.server.odd != nil:
		return s.goOn(l)
	case l.Code == 0:
		return s.onStray(l)
	case l.Other != 0 && !l.More, s.mayGoOn(l):
		s.hold(l)
		return nil
	}
	return s.onReplyLine(l)
}

// mayGoOn tells whether a reply of one line may be the first of several. In a transfer
// or a setup none is.
func (s *session) mayGoOn(l ftp.ReplyLine) bool {
	if !l.First || !l.Last || len(s.pending) != 1 || s.server.within || l.Code == 421 || ftp.Class(l.Code) == 1 {
		return false
	}
	ex := s.pending[0]
	if !ex.owed || ex.place != nil || ex.movesData() {
		return false
	}
	return l.Loose || !l.More && ex.row.has(lists) && ftp.Class(l.Code) == 2
}

// movesData tells whether the exchange is about a data connection.
func (ex *exchange) movesData() bool {
	return ex.delivery != nil || ex.setup != nil || ex.interrupts || ex.row.class == classTransfer || ex.row.class == classSetup
}

// hold keeps a line until the next shows what it was, or none comes.
func (s *session) hold(l ftp.ReplyLine) {
	s.server.odd = ftp.NewDoubt(l)
	wait := oddAfter
	if l.Other == 0 && !l.Loose {
		wait = listAfter
	}
	s.timers.Set(timerOdd, wait)
}

// goOn takes the line after one that is held.
func (s *session) goOn(l ftp.ReplyLine) error {
	o := s.server.odd
	switch {
	case o.InMiddle(): // It was in the middle.
		s.clearOdd()
		if err := s.onReplyLine(o.Line()); err != nil {
			return err
		}
		return s.onServerLine(l)
	case l.Code == 0:
		if !s.mayShow(l.Text) {
			return nil
		}
		if first, ok := o.First(); ok {
			if err := s.onReplyLine(first); err != nil {
				return err
			}
		}
		s.timers.Set(timerOdd, oddAfter)
		l.Code = o.Line().Code
		return s.onReplyLine(l)
	case o.EndsWith(l):
		s.clearOdd()
		l.First = false
		return s.onReplyLine(l)
	}
	if err := s.endOdd(); err != nil {
		return err
	}
	return s.onServerLine(l)
}

// oddTimeout takes the reply for whole, unless more of it has just come.
func (s *session) oddTimeout() error {
	if s.server.Pending() {
		s.timers.Set(timerOdd, listAfter)
		return nil
	}
	return s.endOdd()
}

// endOdd takes the reply whose end is in doubt for whole.
func (s *session) endOdd() error {
	o := s.server.odd
	if o == nil {
		return nil
	}
	s.clearOdd()
	l := o.Whole()
	if o.InMiddle() {
		s.server.Reader.(*ftp.ReplyReader).End()
		anew, gathered := false, len(s.pending) > 0 && s.pending[0].gathers()
		if l, anew = ftp.EndWith(l, gathered, s.mayShow(l.Text)); anew {
			s.pending[0].reply = ftp.Reply{}
		}
	}
	return s.onReplyLine(l)
}

func (s *session) clearOdd() {
	s.server.odd = nil
	s.timers.Clear(timerOdd)
}

// mayShow tells whether a client may have a line without a code: it leads to no address.
func (s *session) mayShow(line []byte) bool { return !ftp.ReadsAsPassive(line) && !s.namesInside(line) }

// onStray takes a line that belongs to no reply. A client that shows it, or takes it for the
// answer, gets it; others skip it.
func (s *session) onStray(l ftp.ReplyLine) error {
	s.log.Often(report.StrayLine).Text("text", string(l.Text)).Msg(report.StrayLine.Message)
	if s.data.delivery != nil || !s.mayShow(l.Text) {
		return nil
	}
	if len(s.pending) > 0 {
		ex := s.pending[0]
		if len(s.pending) > 1 || ex.gathers() || ex.movesData() || ex.row.class == "" && s.data.next != nil {
			return nil
		}
		s.timers.Clear(timerCodeless)
		if !ex.codeless {
			ex.codeless, ex.codelessAt = true, s.client.Filled()
		}
	}
	s.client.Out = append(append(s.client.Out, l.Text...), '\r', '\n')
	return nil
}

// A command that has no other answer than lines without a code is one that a server has made
// up. When its client goes on to the next, nobody waits for a code any more; but the server may
// still send one, and it must not answer the next command. So a NOOP goes first: all before its
// reply is the command's, and goes to nobody.

// answeredWithoutCode tells whether the command under way may be such a one. Verbs of the login and
// of data have codes, and a data connection never waits for an answer without one.
func (s *session) answeredWithoutCode() bool {
	if len(s.pending) != 1 || s.server.odd != nil || s.data.next != nil {
		return false
	}
	ex := s.pending[0]
	if !ex.codeless || ex.row.has(paired) {
		return false
	}
	switch ex.row.class {
	case "", classOther, classControl, classFile:
		return true
	}
	return false
}

// mayGoOnWithoutCode waits a little longer for a code where the client has taken the lines without
// one for the answer: it has said another command since.
func (s *session) mayGoOnWithoutCode() {
	n := len(s.client.queue)
	if n > 0 && s.answeredWithoutCode() && s.client.queue[n-1].fill > s.pending[0].codelessAt {
		s.timers.SetIfUnset(timerCodeless, codelessAfter)
	}
}

// endCodeless sends the NOOP.
func (s *session) endCodeless() error {
	if !s.answeredWithoutCode() {
		return nil
	}
	ex := s.pending[0]
	ex.owed, ex.taken = false, true
	s.log.Debug().Verb(ex.verb).Msg("command answered without a code")
	_, err := s.send(ftp.Command{Verb: "NOOP"}, &exchange{})
	return err
}
