package ftps

import (
	"cmp"
	"crypto/tls"
	"errors"
	"slices"

	"ftproxy/config"
	"ftproxy/internal/certs"
)

// A Backend is how a backend's servers are reached; nil is in the clear.
type Backend struct {
	Implicit  bool
	Data      config.TLSData
	StrictEOF bool

	config *tls.Config // but for what is a session's own; ServerName may be missing: the host
}

// NewBackend reads what a backend's table names.
func NewBackend(b *config.Backend) (*Backend, error) {
	t := &b.TLS
	if t.Mode == "" || t.Mode == config.TLSOff {
		return nil, nil
	}
	key := "backend." + b.Name + ".tls."
	back := &Backend{Implicit: t.Mode == config.TLSImplicit, Data: cmp.Or(t.Data, config.DataPrivate), StrictEOF: t.StrictEOF,
		config: &tls.Config{
			MinVersion:                  t.MinVersion,
			MaxVersion:                  t.MaxVersion,
			ServerName:                  t.ServerName,
			InsecureSkipVerify:          t.InsecureSkipVerify,
			DynamicRecordSizingDisabled: true,
		}}
	if t.MinVersion != 0 && t.MinVersion < tls.VersionTLS12 {
		back.config.CipherSuites = oldSuites()
	}
	var failed []error
	if t.CA != "" {
		pool, err := certs.Pool(t.CA)
		if err != nil {
			failed = append(failed, &ConfigError{key + "ca", err})
		}
		back.config.RootCAs = pool
	}
	if t.Certificate.Certificate != "" {
		c, err := certs.Load(t.Certificate.Certificate, t.Certificate.Key)
		if err != nil {
			failed = append(failed, keyPairError(key, t.Certificate, err))
		}
		back.config.Certificates = []tls.Certificate{c}
	}
	return back, errors.Join(failed...)
}

// Verifies tells whether a server must show a certificate that is valid for it.
func (b *Backend) Verifies() bool { return !b.config.InsecureSkipVerify }

// Session is the configuration of a session's connections to the server that the
// configuration calls host, control and data: one server name and one cache, or
// nothing would be resumed.
func (b *Backend) Session(host string) *tls.Config {
	c := b.config.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	c.ClientSessionCache = new(ticketCache)
	return c
}

// oldSuites are the cipher suites for servers that know nothing better than TLS 1.0
// or 1.1: all that Go has but RC4, those without forward secrecy last.
func oldSuites() []uint16 {
	var ids []uint16
	for _, suites := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range suites {
			if !slices.Contains([]uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}, suite.ID) {
				ids = append(ids, suite.ID)
			}
		}
	}
	return ids
}
