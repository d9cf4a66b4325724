package proxy

import "ftproxy/internal/ftp"

// A queued command waits for its turn.
type queued struct {
	ftp.Command
	again  int    // as often it came behind itself: NOOPs that keep a connection alive
	sent   bool   // an ABOR that was sent at once; only its reply waits
	fill   int    // how often the client had been read when this was
	answer []byte // its reply
}

// next takes the first command out of the queue.
func (s *session) next() *queued {
	q := s.queue[0]
	if q.again > 0 {
		q.again--
		return q
	}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return q
}

// enqueue keeps a command until its turn. Clients keep their connection alive
// with NOOPs as long as a transfer lasts; these must not fill the queue, or an
// ABOR behind them would not be seen.
func (s *session) enqueue(c ftp.Command, fill int) {
	if n := len(s.queue); n > 0 && isNOOP(c) && isNOOP(s.queue[n-1].Command) {
		s.queue[n-1].again++
		return
	}
	s.queue = append(s.queue, &queued{Command: c.Clone(), fill: fill})
}

func isNOOP(c ftp.Command) bool { return c.Verb == "NOOP" && !c.HasArg && c.Fault == nil }
