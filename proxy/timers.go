package proxy

import (
	"time"

	"ftproxy/internal/transfer"
)

// timerID names one of a session's timers.
type timerID int

const (
	timerLogin   timerID = iota // greeting to logged in
	timerIdle                   // the client sends nothing
	timerReply                  // the server's reply to a command
	timerFinal                  // its final reply, after the data has ended
	timerVerdict                // the same, after the transfer failed on our side
	timerTail                   // the end of the data, after the server's final error
	timerRefused                // the answer of a server that refused the data connection
	timerBarrier                // the reply to ABOR, or to the NOOP that is sent behind it then
	timerUnused                 // a data connection agreed on and not used
	timerLeave                  // an answer, for a client that may have left
	timerCount
)

// timers are a session's deadlines on one clock timer: almost all of them are
// set again before they expire.
type timers struct {
	began time.Time
	at    [timerCount]time.Duration // after began; 0: never
	timer *time.Timer
	armed time.Duration // when timer will fire; 0: never
}

func (t *timers) init() {
	t.began = time.Now()
	t.timer = time.NewTimer(time.Hour)
	t.timer.Stop()
}

func (t *timers) stop() { t.timer.Stop() }

func (t *timers) set(id timerID, d time.Duration) { t.at[id] = time.Since(t.began) + d }

func (t *timers) setIfUnset(id timerID, d time.Duration) {
	if t.at[id] == 0 {
		t.set(id, d)
	}
}

func (t *timers) clear(id timerID) { t.at[id] = 0 }

// c arms the clock timer for the earliest deadline. A timer that fires before
// its deadline was moved is armed again by the loop's next turn; one that was
// cleared costs one empty turn.
func (t *timers) c() <-chan time.Time {
	var first time.Duration
	for _, at := range t.at {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	if first != 0 && (t.armed == 0 || first < t.armed) {
		t.timer.Reset(first - time.Since(t.began))
		t.armed = first
	}
	return t.timer.C
}

// expired takes the deadlines that have passed.
func (t *timers) expired() []timerID {
	t.armed = 0
	var ids []timerID
	now := time.Since(t.began)
	for id, at := range t.at {
		if at != 0 && at <= now {
			ids = append(ids, timerID(id))
			t.at[id] = 0
		}
	}
	return ids
}

// onTimer does what expired timers ask for.
func (s *session) onTimer() error {
	for _, id := range s.timers.expired() {
		if err := s.expire(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) expire(id timerID) error {
	switch id {
	case timerLogin:
		return &ending{reason: endLogin, text: "Login timeout, closing control connection."}
	case timerIdle:
		return &ending{reason: endIdle, text: "Idle timeout, closing control connection."}
	case timerReply:
		return &ending{reason: endReply, text: "Service not available, the server does not answer."}
	case timerFinal:
		return s.finalTimeout()
	case timerVerdict:
		s.deliverEarly()
	case timerTail:
		s.data.delivery.transfer.Abort(transfer.ErrServerError)
	case timerRefused:
		if s.data.delivery.transfer.ServerUnreachable() {
			s.data.delivery.transfer.Abort(transfer.ErrDataConnect)
		}
	case timerBarrier:
		return s.barrier()
	case timerLeave:
		return s.lookForClient()
	case timerUnused:
		if !s.data.next.ClientHere() { // A client that is here may take its time.
			s.log.Debug().Msg("data connection not used in time")
			s.dropData()
			s.data.promises.ClientSilent()
		}
	}
	return nil
}
