package proxy

import (
	"fmt"

	"github.com/rs/zerolog"
)

// sessionLog begins log lines with what tells one session from another. It
// writes that anew for each line, because a session that keeps it written would
// be half a kilobyte larger, and most sessions have three lines.
type sessionLog struct{ s *session }

func (l sessionLog) Debug() *zerolog.Event { return l.begin(l.s.p.log.Debug()) }
func (l sessionLog) Info() *zerolog.Event  { return l.begin(l.s.p.log.Info()) }
func (l sessionLog) Warn() *zerolog.Event  { return l.begin(l.s.p.log.Warn()) }

// name is what tells a session from all others.
func (s *session) name() string { return fmt.Sprintf("%s-%x", s.p.sessionPrefix, s.id) }

func (l sessionLog) begin(e *zerolog.Event) *zerolog.Event {
	if !e.Enabled() {
		return e
	}
	s := l.s
	e = e.Str("session", s.name()).
		Stringer("client", s.clientAddr).Str("backend", s.fe.backend.name)
	if s.serverAddr.IsValid() {
		e = e.Stringer("server", s.serverAddr)
	}
	return e
}
