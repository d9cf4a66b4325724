package proxy

import (
	"ftproxy/internal/timers"
	"ftproxy/internal/transfer"
)

// timerID names one of a session's timers.
type timerID int

const (
	timerLogin    timerID = iota // greeting to logged in
	timerIdle                    // the client sends nothing
	timerReply                   // the server's reply to a command
	timerFinal                   // its final reply, after the data has ended
	timerVerdict                 // the same, after the transfer failed on our side
	timerTail                    // the end of the data, after the server's final error
	timerRefused                 // the answer of a server that refused the data connection
	timerBarrier                 // the replies to ABOR and its transfer, or to the NOOP that is sent after them
	timerUnused                  // a data connection agreed on and not used
	timerOdd                     // the end of a reply that is in doubt
	timerCodeless                // a code, for a command answered by lines without one
	timerSurplus                 // a surplus reply, of a server that has sent one lately
	timerLeave                   // an answer, for a client that may have left
	timerSender                  // the end of an upload, of a client that has closed its control connection
	timerCount
)

// There is room for all of them.
var _ [timers.Max - timerCount]struct{}

// onTimer does what expired timers ask for.
func (s *session) onTimer() error {
	for _, id := range s.timers.Expired() {
		if err := s.expire(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) expire(id timerID) error {
	switch id {
	case timerLogin:
		return &ending{reason: endLogin, text: textLoginTimeout}
	case timerIdle:
		return &ending{reason: endIdle, text: "Idle timeout, closing control connection."}
	case timerReply:
		if s.answeredWithoutCode() {
			return s.endCodeless()
		}
		return &ending{reason: endReply, text: "Service not available, the server does not answer."}
	case timerFinal:
		return s.finalTimeout()
	case timerVerdict:
		return s.verdictOverdue()
	case timerTail:
		s.data.delivery.transfer.Abort(transfer.ErrServerError)
	case timerRefused:
		if s.data.delivery.transfer.ServerUnreachable() {
			s.data.delivery.transfer.Abort(transfer.ErrDataConnect)
		}
	case timerBarrier:
		return s.overdue()
	case timerSurplus: // The next command may go.
	case timerOdd:
		return s.oddTimeout()
	case timerCodeless:
		return s.endCodeless()
	case timerSender:
		if d := s.data.delivery; d != nil && !d.transfer.SenderDone() {
			return &ending{reason: endClientGone, cause: errClientGone}
		}
	case timerLeave:
		return s.lookForClient()
	case timerUnused:
		if !s.data.next.ClientHere() { // A client that is here may take its time.
			s.tellUnused()
			s.dropData()
			s.data.promises.ClientSilent()
		}
	}
	return nil
}
