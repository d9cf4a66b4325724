package ftps

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"ftproxy/config"
	"ftproxy/internal/certs"
)

// A Backend is how a backend's servers are reached; nil is in the clear.
type Backend struct {
	Implicit  bool
	Data      config.TLSData
	StrictEOF bool

	verifies    bool
	fingerprint string      // of the only certificate; empty: any that is verified
	config      *tls.Config // but for what is a session's own; ServerName may be missing: the host
}

// NewBackend reads what a backend's table names.
func NewBackend(b *config.Backend) (*Backend, error) {
	t := &b.TLS
	if t.Mode == "" || t.Mode == config.TLSOff {
		return nil, nil
	}
	key := "backend." + b.Name + ".tls."
	back := &Backend{Implicit: t.Mode == config.TLSImplicit, Data: cmp.Or(t.Data, config.DataPrivate), StrictEOF: t.StrictEOF,
		verifies: !t.InsecureSkipVerify,
		config: &tls.Config{
			MinVersion:                  t.MinVersion,
			MaxVersion:                  t.MaxVersion,
			ServerName:                  t.ServerName,
			InsecureSkipVerify:          t.InsecureSkipVerify,
			DynamicRecordSizingDisabled: true,
		}}
	if t.Ciphers == config.CiphersLegacy || t.MinVersion != 0 && t.MinVersion < tls.VersionTLS12 {
		back.config.CipherSuites = oldSuites()
	}
	if t.Fingerprint != "" {
		back.config.InsecureSkipVerify = true
		back.fingerprint = t.Fingerprint
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
func (b *Backend) Verifies() bool { return b.verifies }

// Session is the configuration of a session's connections to the server that the
// configuration calls host, control and data: one server name and one cache, or
// nothing would be resumed.
func (b *Backend) Session(host string) *tls.Config {
	c := b.config.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	c.ClientSessionCache = new(ticketCache)
	if b.fingerprint != "" {
		trustOnly(c, b.fingerprint)
	}
	return c
}

// trustOnly makes of a session's configuration one that accepts one certificate, by its
// SHA-256 fingerprint. crypto/tls asks at resumed handshakes, too. It resumes no session
// whose certificate is past its date, even where it verifies nothing, and servers that
// insist on resumption would then be of no use; so the session's clock is put back.
func trustOnly(c *tls.Config, fingerprint string) {
	now := c.Time
	if now == nil {
		now = time.Now
	}
	var back atomic.Int64 // nanoseconds
	c.Time = func() time.Time { return now().Add(-time.Duration(back.Load())) }
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		leaf := cs.PeerCertificates[0]
		if shown := fmt.Sprintf("sha256:%x", sha256.Sum256(leaf.Raw)); shown != fingerprint {
			return &FingerprintError{shown}
		}
		if c.Time().After(leaf.NotAfter) {
			back.Store(int64(now().Sub(leaf.NotAfter) + sessionAge))
		}
		return nil
	}
}

// sessionAge is how long a session may go on with a clock that was put back: as long as
// a ticket is valid.
const sessionAge = 7 * 24 * time.Hour

// A FingerprintError is a server that shows another certificate than its backend trusts.
type FingerprintError struct{ Shown string }

func (e *FingerprintError) Error() string {
	return "the server's certificate has the fingerprint " + e.Shown + ", not that of the configuration"
}

// oldSuites are the cipher suites of ciphers = "legacy": all that Go has but RC4, those without forward secrecy last.
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
