package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"ftproxy/internal/logline"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// Why a protected data connection is not the session's.
var (
	errNotReused     = errors.New("the data connection does not resume the TLS session of its control connection")
	errOtherSession  = fmt.Errorf("%w: it resumes another one's", errNotReused)
	errOtherIdentity = errors.New("the data connection has another client certificate than its control connection")
)

// clientProtection is that of the client's data connections as they are now; nil: they
// are in the clear.
func (s *session) clientProtection() *transfer.Protection {
	if !s.client.protects() {
		return nil
	}
	front, keys := s.fe.tls, s.p.tickets.All()
	p := &transfer.Protection{Limit: s.rt.timeouts.TLSHandshake, StrictEOF: front.StrictEOF, Quoting: logline.PeerError}
	var owner *uint64
	p.Begin = func(conn net.Conn) *tls.Conn {
		var c *tls.Config
		c, owner = front.Data(keys)
		return tls.Server(conn, c)
	}
	reuses, offers := front.Reuses(), front.Offers()
	i := &identifier{p: s.p, fe: s.fe}
	id, certified := s.ID, s.client.security.certified
	p.Check = func(conn *tls.Conn) error {
		cs := conn.ConnectionState()
		switch {
		case reuses && owner != nil && (!cs.DidResume || *owner != id): // Without an owner it was identified before.
			return errNotReused
		case offers && *owner != id && (cs.DidResume || *owner != 0): // The ticket says whose it is, whatever its address (decision 4).
			i.refuse(tcp.AddrPort(conn.RemoteAddr()), errOtherSession)
			return errOtherSession
		case certified != nil && (len(cs.PeerCertificates) == 0 || !cs.PeerCertificates[0].Equal(certified)):
			return errOtherIdentity // RFC 4217 §15.1, H78.
		}
		return nil
	}
	return p
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
		Quoting:   logline.PeerError,
	}
}
