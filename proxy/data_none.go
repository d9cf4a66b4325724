package proxy

import (
	"ftproxy/internal/ftp"
)

// Transfers without a data connection. RFC 959 §3.2 has a default for them, the client's
// control port, which reaches nobody through a proxy (H44). But the server may refuse
// the command for a better reason, so it is asked, and only where it would begin the
// transfer the client hears 425.

// askWithoutData sends a transfer command for which no data connection was agreed on,
// where the server can do no harm with it. It may truncate a file before it looks for
// its data connection: so it is not asked to store where the client believes in a data
// connection that ftproxy has refused or given up. And it may connect to the port that
// it was told last, which may be another session's by now: so after a PORT or EPRT of
// ours it is told a fresh one first, and asked nothing that stores: it would begin.
func (s *session) askWithoutData(q *queued) error {
	switch writes := verbs[q.Verb].has(writes); {
	case writes && (s.data.givenUp || s.data.toldPort):
		return refuse(425, textSetupFirst, nil)
	case s.data.toldPort:
		return s.askOnFreshPort(q)
	}
	_, err := s.send(q.Command, &exchange{owed: true, dataless: true})
	return err
}

// askOnFreshPort tells the server a port that is nobody else's, for a transfer command
// that it is to refuse. Between REST and its transfer no command may come (H33).
func (s *session) askOnFreshPort(q *queued) error {
	attempts, err := s.serverVerbs("PORT") // which all know
	if s.midway || err != nil || !s.takeSlot() {
		return refuse(425, textSetupFirst, err)
	}
	command := q.Command.Clone()
	return s.leasePorts(&setup{client: q.Verb, attempts: attempts, asks: &command})
}

// askOnPort sends the command when the server has taken the port.
func (s *session) askOnPort(st *setup) error {
	s.data.promises.ServerAsked()
	_, err := s.send(*st.asks, &exchange{owed: true, dataless: true, setup: st})
	if err != nil {
		st.ports.Close()
	}
	return err
}

// onDataless takes what the server says to such a command. A 1xx is not for the client:
// the server is told to abort.
func (s *session) onDataless(ex *exchange, l ftp.ReplyLine) error {
	switch {
	case ftp.Class(l.Code) != 1:
		return s.finishDataless(ex, l)
	case !l.Last || ex.announced:
		return s.delay(ex, l)
	}
	ex.announced = true
	ex.closePorts() // A server that is sending may read ABOR only when it has failed.
	if err := s.delay(ex, l); err != nil {
		return err
	}
	return s.abortUnanswered()
}

// finishDataless gives the client the final reply: the server's error, or 425.
func (s *session) finishDataless(ex *exchange, l ftp.ReplyLine) error {
	ex.reply.Add(l)
	if err := s.grow(ex, l, maxGathered); err != nil || !l.Last {
		return err
	}
	s.pop(l.Code)
	s.answerDataless(ex)
	return nil
}

// closePorts gives up the port that the server was told for this command.
func (ex *exchange) closePorts() {
	if ex.setup != nil {
		ex.setup.ports.Close()
	}
}

// answerDataless writes it. Success would be a lie: no data moved.
func (s *session) answerDataless(ex *exchange) {
	s.midway = false
	ex.closePorts()
	switch {
	case ex.announced || ftp.Class(ex.reply.Code) < 3:
		s.say(425, textSetupFirst)
	case s.namesInside([]byte(ex.reply.Text())):
		s.say(ex.reply.Code, textFailed)
	default:
		s.client.Out = ex.reply.AppendLines(s.client.Out)
	}
}
