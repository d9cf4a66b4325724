package report

import (
	"ftproxy/internal/logline"
	"ftproxy/internal/transfer"
)

// Transfer writes the one line of a transfer.
func (s *Session) Transfer(r *transfer.Record) {
	if r.Unlimited != nil {
		s.Warn().Err(r.Unlimited).Msg("transfer without its bandwidth limit")
	}
	e := s.Info().Masked("user", logline.Masked(r.User)).Masked("verb", logline.Masked(r.Verb)).Masked("path", logline.Masked(r.Path)).
		Str("direction", word(r.Direction.String())).Int64("bytes", r.Bytes).Dur("duration", r.Duration()).
		Str("client_mode", word(r.Modes.Client)).Str("server_mode", word(r.Modes.Server)).
		Int("code", r.Code).Str("result", word(r.Outcome))
	e = ends(e, "client_data", r.ClientData)
	e = ends(e, "server_data", r.ServerData)
	if r.Stray > 0 {
		e = e.Int64("stray_bytes", r.Stray)
	}
	if r.Truncated {
		e = e.Bool("no_close_notify", true)
	}
	if r.ClientGone {
		e = e.Bool("client_gone", true)
	}
	e.AnErr("cause", r.Err).Msg("transfer")
}

// ends names the two ends of a data connection: ours, and the peer's.
func ends(e line, key string, at transfer.Ends) line {
	if at.Remote.IsValid() {
		e = e.AddrPort(key, at.Remote).AddrPort(key+"_local", at.Local)
	}
	if at.TLS != "" {
		e = e.Str(key+"_tls", word(at.TLS))
	}
	return e
}
