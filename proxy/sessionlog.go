package proxy

import (
	"fmt"
	"net/netip"
)

// sessionLog begins log lines with what tells one session from another. It
// writes that anew for each line, because a session that keeps it written would
// be half a kilobyte larger, and most sessions have three lines.
//
// It knows the secrets of the session, and withholds what quotes one of them.
type sessionLog struct{ s *session }

func (l sessionLog) Debug() logLine { return l.begin(l.s.p.log.Debug()) }
func (l sessionLog) Info() logLine  { return l.begin(l.s.p.log.Info()) }
func (l sessionLog) Warn() logLine  { return l.begin(l.s.p.log.Warn()) }

// often is a line that a peer can cause at will: see Process.often.
func (l sessionLog) often(k *repeated, about string, peer netip.Addr) logLine {
	return l.begin(l.s.p.often(k, about, "", peer))
}

// show is what the log may have of a name or path of the client's.
func (l sessionLog) show(text []byte) masked { return l.s.secrets.Load().show(string(text)) }

// name is what tells a session from all others.
func (s *session) name() string { return fmt.Sprintf("%s-%x", s.p.sessionPrefix, s.id) }

func (l sessionLog) begin(e logLine) logLine {
	if !e.event.Enabled() {
		return e
	}
	s := l.s
	e.secrets = s.secrets.Load()
	e = e.Str("session", word(s.name())).
		Stringer("client", s.clientAddr).Str("backend", word(s.fe.backend.name))
	if s.serverAddr.IsValid() {
		e = e.Stringer("server", s.serverAddr)
	}
	return e
}
