// Package ftps is the TLS that a configuration asks for: how each frontend protects its
// clients and how the servers of each backend are reached, from files to tls.Config.
package ftps

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"

	"ftproxy/config"
	"ftproxy/internal/certs"
	"ftproxy/internal/tickets"
)

// The protocols that clients may name by ALPN. A client that names others only is
// refused: a browser could be made to speak to us as to a server of the same name
// (ALPACA). One that names none is not. FileZilla names x-filezilla-ftp, too: that is
// its own dialect, so it is never chosen.
var (
	controlProtocols = []string{"ftp"}
	dataProtocols    = []string{"ftp", "ftp-data"}
)

// A Frontend is how a frontend protects its clients; nil is not at all.
type Frontend struct {
	RequireData bool // no data connection may be in the clear
	StrictEOF   bool

	mode       config.TLSMode
	reuse      config.SessionReuse
	config     *tls.Config              // but for what is a session's own
	data       *tls.Config              // the same for data connections
	ticketless *tls.Config              // the same without tickets
	keyed      atomic.Pointer[[32]byte] // the newest key that config was given for tickets
	shown      []Certificate
}

// A Certificate is one that clients see.
type Certificate struct {
	Frontend, File string
	Leaf           *x509.Certificate
}

// Name is the first name in a certificate.
func (c Certificate) Name() string {
	if len(c.Leaf.DNSNames) > 0 {
		return c.Leaf.DNSNames[0]
	}
	return c.Leaf.Subject.CommonName
}

// Implicit tells whether the handshake comes before everything.
func (f *Frontend) Implicit() bool { return f != nil && f.mode == config.TLSImplicit }

// Required tells whether nobody may log in without it.
func (f *Frontend) Required() bool { return f != nil && f.mode != config.TLSOptional }

// Reuses tells whether data connections must resume the control connection's session.
func (f *Frontend) Reuses() bool { return f != nil && f.reuse == config.ReuseRequire }

// Offers tells whether data connections that resume a session must resume the control
// connection's, and others need not.
func (f *Frontend) Offers() bool { return f != nil && f.reuse == config.ReuseOffer }

// Certificates are those that the frontend shows.
func (f *Frontend) Certificates() []Certificate {
	if f == nil {
		return nil
	}
	return f.shown
}

// NewFrontend reads what a frontend's table names.
func NewFrontend(f *config.Frontend) (*Frontend, error) {
	t := &f.TLS
	if t.Mode == "" || t.Mode == config.TLSOff {
		return nil, nil
	}
	key := "frontend." + f.Name + ".tls."
	front := &Frontend{mode: t.Mode, RequireData: t.RequireData, reuse: cmp.Or(t.SessionReuse, config.ReuseOff), StrictEOF: t.StrictEOF,
		config: &tls.Config{
			MinVersion:                  t.MinVersion,
			MaxVersion:                  t.MaxVersion,
			NextProtos:                  controlProtocols,
			DynamicRecordSizingDisabled: true, // It is for pages that wait for their first bytes.
		}}
	if t.Ciphers == config.CiphersLegacy {
		front.config.CipherSuites = oldSuites()
	}
	var failed []error
	for _, pair := range t.Certificates {
		c, err := certs.Load(pair.Certificate, pair.Key)
		if err != nil {
			failed = append(failed, keyPairError(key, pair, err))
			continue
		}
		front.config.Certificates = append(front.config.Certificates, c)
		front.shown = append(front.shown, Certificate{f.Name, pair.Certificate, c.Leaf})
	}
	if t.ClientCA != "" {
		pool, err := certs.Pool(t.ClientCA)
		if err != nil {
			failed = append(failed, &ConfigError{key + "client_ca", err})
		}
		front.config.ClientCAs = pool
		front.config.ClientAuth = tls.RequireAndVerifyClientCert
		if t.ClientCertificate == "optional" {
			front.config.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	front.data = front.config.Clone()
	front.data.NextProtos = dataProtocols
	front.ticketless = front.data.Clone()
	front.ticketless.SessionTicketsDisabled = true
	return front, errors.Join(failed...)
}

// Control is the configuration of a client's control connection. Where data
// connections may say whose they are, its tickets are the session's.
func (f *Frontend) Control(keys [][32]byte, session uint64) *tls.Config {
	if f.reuse == config.ReuseOff {
		return f.shared(keys)
	}
	return tickets.Give(f.config, keys, session)
}

// shared is the configuration of all control connections that prove nothing.
// crypto/tls lets its keys be set while others use it, to the same at worst.
func (f *Frontend) shared(keys [][32]byte) *tls.Config {
	if newest := &keys[0]; f.keyed.Load() != newest {
		f.config.SetSessionTicketKeys(keys)
		f.keyed.Store(newest)
	}
	return f.config
}

// Data is the configuration of a client's data connection, and where the
// owner of the ticket that it resumes is written, before the handshake ends. Where
// tickets are not required it gives none: a TLS 1.3 client that uploads and never reads
// would leave them unread, and its close become a reset that cuts the tail.
func (f *Frontend) Data(keys [][32]byte) (c *tls.Config, owner *uint64) {
	switch f.reuse {
	case config.ReuseRequire:
		return tickets.Take(f.data, keys)
	case config.ReuseOffer:
		return tickets.TakeOnly(f.data, keys)
	}
	return f.ticketless, new(uint64)
}
