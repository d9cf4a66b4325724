package proxy

import (
	"ftproxy/internal/ftp"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// record is all that is told of a delivery that has ended with code.
func (s *session) record(d *delivery, code int) transfer.Record {
	return transfer.Record{
		Session:    s.log.name(),
		Client:     s.ClientAddr,
		Server:     s.server.Addr,
		Frontend:   s.fe.name,
		Backend:    s.backend.Name,
		User:       string(s.user),
		Verb:       string(secretVerbs.Show(d.verb, s.secrets.Load())),
		Path:       string(d.path),
		Direction:  d.direction,
		Modes:      d.transfer.Modes(),
		Accepted:   d.accepted,
		Code:       code,
		Outcome:    d.outcome(code),
		ClientGone: s.client.Ended || tcp.Ended(s.client.Conn),
		Result:     *d.result,
	}
}

// outcome is the one of the record.
func (d *delivery) outcome(code int) string {
	switch {
	case !d.accepted && d.final != nil:
		return transfer.Refused
	case d.result.Err != nil:
		return d.result.Failed.String()
	case ftp.Class(code) >= 4:
		return transfer.ServerSide.String()
	}
	return transfer.OK
}

// tell gives a record to all who want it.
func (s *session) tell(d *delivery, r *transfer.Record) {
	if r.Accepted { // So it was counted as started.
		s.p.metrics.TransferEnded(d.counted, r.Outcome, r.Bytes)
	}
	s.logTransfer(r)
}

// logTransfer writes the one line of a transfer.
func (s *session) logTransfer(r *transfer.Record) {
	if r.Unlimited != nil {
		s.log.Warn().Err(r.Unlimited).Msg("transfer without its bandwidth limit")
	}
	e := s.log.Info().Masked("user", masked(r.User)).Masked("verb", masked(r.Verb)).Masked("path", masked(r.Path)).
		Str("direction", word(r.Direction.String())).Int64("bytes", r.Bytes).Dur("duration", r.Duration()).
		Str("client_mode", word(r.Modes.Client)).Str("server_mode", word(r.Modes.Server)).
		Int("code", r.Code).Str("result", word(r.Outcome))
	e = logEnds(e, "client_data", r.ClientData)
	e = logEnds(e, "server_data", r.ServerData)
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

// logEnds names the two ends of a data connection: ours, and the peer's.
func logEnds(e logLine, key string, at transfer.Ends) logLine {
	if at.Remote.IsValid() {
		e = e.Stringer(key, at.Remote).Stringer(key+"_local", at.Local)
	}
	if at.TLS != "" {
		e = e.Str(key+"_tls", word(at.TLS))
	}
	return e
}
