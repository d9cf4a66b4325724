package proxy

import (
	"fmt"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/report"
)

// What a server may send in one reply: to be passed on, and to be read whole.
const (
	maxReply    = 16 << 20
	maxGathered = 64 << 10
)

// What a server may send that answers nothing, or not yet. A server that goes on
// for ever would take a core, and no timer sees it.
const (
	// maxUnsolicited is the unsolicited reply that ends the session. Each answer to a
	// command forgives two of those before it: some servers answer every CWD or NOOP twice.
	maxUnsolicited = 5
	forgiven       = 2
	// maxPreliminary is how many 1xx replies one command may have. A server that
	// tells of its progress once a second needs a quarter of an hour for them.
	maxPreliminary = 1000
)

// surplusAfter is how long the next command waits for the surplus reply of a server that has sent
// one lately: it must not answer that command.
const surplusAfter = 50 * time.Millisecond

// forgive makes unsolicited replies count less, as a command was answered.
func (s *session) forgive() {
	if s.server.unsolicited > 0 {
		s.timers.Set(timerSurplus, surplusAfter)
	}
	s.server.unsolicited = max(0, s.server.unsolicited-forgiven)
}

// tooLong ends the session of a server that sends too much.
func (s *session) tooLong(reason, text string, cause error) error {
	s.log.Often(report.EndlessReply).Err(cause).Msg(report.EndlessReply.Message)
	return &ending{reason: reason, text: text, cause: cause}
}

// Texts of the 421 that tells of it.
const (
	textTooLong   = "Service not available, the server's reply is too long."
	textOutOfStep = "Service not available, the server is out of step."
)

// grow counts a line of the replies to a command, whether it is passed on or not.
func (s *session) grow(ex *exchange, l ftp.ReplyLine, limit int) error {
	if ex.size += len(l.Text) + len("\r\n"); ex.size > limit {
		return s.tooLong(endServerBad, textTooLong, fmt.Errorf("%w: reply to %s over %d bytes", ftp.ErrLineTooLong, ex.name(), limit))
	}
	return nil
}

// delay counts a line of a 1xx reply.
func (s *session) delay(ex *exchange, l ftp.ReplyLine) error {
	if !l.First {
		return nil
	}
	if ex.preliminary++; ex.preliminary > maxPreliminary {
		return s.tooLong(endServerBad, textOutOfStep, fmt.Errorf("more than %d preliminary replies to %s", maxPreliminary, ex.name()))
	}
	return nil
}

// name is the verb for an error.
func (ex *exchange) name() string {
	name, _ := secretVerbs.Unglue(ex.verb)
	return name
}
