package proxy

import (
	"ftproxy/internal/identify"
	"ftproxy/internal/portpool"
)

// identifier tells whose a data connection of the client's is.
func (s *session) identifier() *identify.Identifier {
	return &identify.Identifier{Ctx: s.p.hardStop, Report: s.p.reportOf(s.fe, s.p.hardStop), Keys: &s.p.tickets,
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
