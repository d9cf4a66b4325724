package proxy

import (
	"crypto/tls"

	"ftproxy/internal/tickets"
)

// shared is the configuration of all control connections that prove nothing.
// crypto/tls lets its keys be set while others use it, to the same at worst.
func (f *frontTLS) shared(keys [][32]byte) *tls.Config {
	if newest := &keys[0]; f.keyed.Load() != newest {
		f.config.SetSessionTicketKeys(keys)
		f.keyed.Store(newest)
	}
	return f.config
}

// controlTLS is the configuration of a client's control connection. Where data
// connections must prove whose they are, its tickets are the session's.
func (s *session) controlTLS() *tls.Config {
	keys := s.p.tickets.All()
	if !s.fe.tls.requireReuse {
		return s.fe.tls.shared(keys)
	}
	return tickets.Give(s.fe.tls.config, keys, s.id)
}

// dataConfig is the configuration of a client's data connection, and where the
// owner of the ticket that it resumes is written, before the handshake ends. Where
// that is of no interest it takes and gives no tickets: a TLS 1.3 client that
// uploads and never reads would leave them unread, and its close become a reset
// that cuts the tail.
func (f *frontTLS) dataConfig(keys [][32]byte) (c *tls.Config, owner *uint64) {
	if !f.requireReuse {
		return f.ticketless, new(uint64)
	}
	return tickets.Take(f.config, keys)
}
