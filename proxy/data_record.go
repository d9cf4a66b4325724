package proxy

import (
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// record is all that is told of a delivery that has ended with code.
func (s *session) record(d *delivery, code int) transfer.Record {
	return transfer.Record{
		Session:    s.log.Name,
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
		Outcome:    d.known().Outcome(code),
		ClientGone: s.client.Ended || tcp.Ended(s.client.Conn),
		Result:     *d.result,
	}
}

// tell gives a record to all who want it.
func (s *session) tell(d *delivery, r *transfer.Record) {
	if r.Accepted { // So it was counted as started.
		s.p.metrics.TransferEnded(d.counted, r.Outcome, r.Bytes)
	}
	s.log.Transfer(r)
}
