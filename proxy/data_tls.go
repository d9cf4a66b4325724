package proxy

import (
	"crypto/tls"
	"net"

	"ftproxy/internal/identify"
	"ftproxy/internal/portpool"
	"ftproxy/internal/transfer"
)

// clientProtection is that of the client's data connections as they are now; nil: they
// are in the clear.
func (s *session) clientProtection() *transfer.Protection {
	if !s.client.protects() {
		return nil
	}
	return s.identifier().Protection(s.ID, s.client.security.Certified)
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

// identifier tells whose a data connection of the client's is.
func (s *session) identifier() *identify.Identifier {
	return &identify.Identifier{Ctx: s.p.hardStop, Report: s.p.reportOf(s.p.hardStop, s.fe), Keys: &s.p.tickets,
		TLS: s.fe.tls, Proxies: s.fe.trustedProxies, Handshake: s.rt.timeouts.TLSHandshake}
}

// identifyData makes the request for a public port one whose connections are identified,
// where their address does not tell enough.
func (s *session) identifyData(r *portpool.Request, st *setup) {
	reuses := s.fe.tls.Reuses() && s.client.protects()
	if !reuses && !s.fe.dataProxyProtocol {
		return
	}
	i := s.identifier()
	if !reuses {
		i.TLS = nil
	}
	if s.fe.dataProxyProtocol {
		i.Header = s.rt.timeouts.ProxyHeader
	}
	st.refused = make(chan error, 1)
	i.Ask(r, st.refused)
}
