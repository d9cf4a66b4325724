package proxy

import (
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/tcp"
)

// logTransfer writes the one line of a transfer.
func (s *session) logTransfer(t *running, code int) {
	r := t.result
	e := s.log.Info().Masked("user", s.user).Verb(t.verb).Masked("path", t.path).
		Str("direction", word(t.direction.String())).Int64("bytes", r.bytes).Dur("duration", t.duration()).
		Str("client_mode", word(t.data.modes.client)).Str("server_mode", word(t.data.modes.server)).
		Int("code", code).Str("result", word(t.outcome(code)))
	e = logEnds(e, "client_data", r.client)
	e = logEnds(e, "server_data", r.server)
	if r.stray > 0 {
		e = e.Int64("stray_bytes", r.stray)
	}
	if r.truncated {
		e = e.Bool("no_close_notify", true)
	}
	if s.client.ended || tcp.FINReceived(s.client.conn) || tcp.Over(s.client.conn) { // An upload may be a part of a file.
		e = e.Bool("client_gone", true)
	}
	e.AnErr("cause", r.err).Msg("transfer")
}

// logEnds names the two ends of a data connection: ours, and the peer's.
func logEnds(e logLine, key string, at ends) logLine {
	if at.remote.IsValid() {
		e = e.Stringer(key, at.remote).Stringer(key+"_local", at.local)
	}
	if at.tls != "" {
		e = e.Str(key+"_tls", word(at.tls))
	}
	return e
}

// outcome is the result for the log: ok, refused by the server before any data,
// or the side that failed.
func (t *running) outcome(code int) string {
	switch {
	case !t.accepted && t.final != nil:
		return "refused"
	case t.result.err != nil:
		return string(t.result.failed)
	case ftp.Class(code) >= 4:
		return string(serverSide)
	}
	return "ok"
}

// duration is how long the data took, from the server's 1xx on.
func (t *running) duration() time.Duration {
	if t.result.began.IsZero() {
		return 0
	}
	return t.result.ended.Sub(t.result.began)
}
