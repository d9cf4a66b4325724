package proxy

import (
	"crypto/tls"
	"net"

	"ftproxy/internal/transfer"
)

// clientProtection is that of the client's data connections as they are now; nil: they
// are in the clear.
func (s *session) clientProtection() *transfer.Protection {
	if !s.client.protects() {
		return nil
	}
	return s.identifier().Protection(s.ID, s.client.security.certified)
}

// serverProtection is that of the server's data connections as they are now. It
// resumes the control connection's session: the servers that insist on that are
// vsftpd (require_ssl_reuse), ProFTPD and FileZilla Server (H73).
func (s *session) serverProtection() *transfer.Protection {
	if s.server.Protection == nil || s.server.Level != 'P' {
		return nil
	}
	c := s.server.Protection
	return &transfer.Protection{
		Begin:     func(conn net.Conn) *tls.Conn { return tls.Client(conn, c) },
		Limit:     s.rt.timeouts.TLSHandshake,
		StrictEOF: s.backend.TLS.StrictEOF,
	}
}
