package metrics

import "time"

// A Certificate is what is told of one: of which frontend, the first name in it,
// and when it ceases to be valid.
type Certificate struct {
	Frontend, Name string
	NotAfter       time.Time
}

// Certificates tells which ones clients are shown from now on.
func (m *Metrics) Certificates(all []Certificate) {
	m.certificateExpiry.Reset()
	for _, c := range all {
		m.certificateExpiry.WithLabelValues(c.Frontend, c.Name).Set(float64(c.NotAfter.Unix()))
	}
}

// Unverified tells from now on of each backend that has TLS whether the certificates
// of its servers are not verified.
func (m *Metrics) Unverified(backends map[string]bool) {
	m.unverified.Reset()
	for backend, unverified := range backends {
		value := 0.0
		if unverified {
			value = 1
		}
		m.unverified.WithLabelValues(backend).Set(value)
	}
}

// TLSHandshake counts a handshake on a client's control connection.
func (m *Metrics) TLSHandshake(frontend string, ok bool) {
	m.tlsHandshakes.WithLabelValues(frontend, handshakeResult(ok)).Inc()
}

// ServerTLSHandshake counts a handshake on a server's control connection.
func (m *Metrics) ServerTLSHandshake(backend string, ok bool) {
	m.serverTLSHandshakes.WithLabelValues(backend, handshakeResult(ok)).Inc()
}

// DataReuseRefused counts a data connection that did not resume the TLS session of
// its control connection, where it has to.
func (m *Metrics) DataReuseRefused(frontend string) {
	m.reuseRefused.WithLabelValues(frontend).Inc()
}

func handshakeResult(ok bool) string {
	if ok {
		return OK
	}
	return "failed"
}
