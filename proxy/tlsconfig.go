package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"slices"
	"sync/atomic"

	"ftproxy/config"
	"ftproxy/internal/certs"
)

// A frontTLS is how a frontend protects its clients; nil is not at all.
type frontTLS struct {
	mode         config.TLSMode
	config       *tls.Config              // but for what is a session's own
	ticketless   *tls.Config              // the same without tickets
	keyed        atomic.Pointer[[32]byte] // the newest key that config was given for tickets
	files        []string                 // of its certificates
	requireData  bool
	requireReuse bool
	strictEOF    bool
}

// A backTLS is how a backend's servers are reached; nil is in the clear.
type backTLS struct {
	implicit  bool
	data      config.TLSData
	config    *tls.Config // but for what is a session's own; ServerName may be missing: the host
	strictEOF bool
}

func (f *frontTLS) implicit() bool { return f != nil && f.mode == config.TLSImplicit }

// required tells whether nobody may log in without it.
func (f *frontTLS) required() bool { return f != nil && f.mode != config.TLSOptional }

// reuses tells whether data connections must resume the control connection's session.
func (f *frontTLS) reuses() bool { return f != nil && f.requireReuse }

// A TLSError says which key of the configuration names a file that cannot be used.
// It wraps what is wrong with the file.
type TLSError struct {
	Key string // "frontend.public.tls.certificate"
	Err error
}

func (e *TLSError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *TLSError) Unwrap() error { return e.Err }

// newFrontTLS reads what a frontend's table names.
func newFrontTLS(f *config.Frontend) (*frontTLS, error) {
	t := &f.TLS
	if t.Mode == "" || t.Mode == config.TLSOff {
		return nil, nil
	}
	key := "frontend." + f.Name + ".tls."
	front := &frontTLS{mode: t.Mode, requireData: t.RequireData, requireReuse: t.RequireSessionReuse, strictEOF: t.StrictEOF,
		config: &tls.Config{
			MinVersion:                  t.MinVersion,
			MaxVersion:                  t.MaxVersion,
			DynamicRecordSizingDisabled: true, // It is for pages that wait for their first bytes.
		}}
	var failed []error
	for _, pair := range t.Certificates {
		c, err := certs.Load(pair.Certificate, pair.Key)
		if err != nil {
			failed = append(failed, keyPairError(key, pair, err))
			continue
		}
		front.config.Certificates = append(front.config.Certificates, c)
		front.files = append(front.files, pair.Certificate)
	}
	if t.ClientCA != "" {
		pool, err := certs.Pool(t.ClientCA)
		if err != nil {
			failed = append(failed, &TLSError{key + "client_ca", err})
		}
		front.config.ClientCAs = pool
		front.config.ClientAuth = tls.RequireAndVerifyClientCert
		if t.ClientCertificate == "optional" {
			front.config.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	front.ticketless = front.config.Clone()
	front.ticketless.SessionTicketsDisabled = true
	return front, errors.Join(failed...)
}

// newBackTLS reads what a backend's table names.
func newBackTLS(b *config.Backend) (*backTLS, error) {
	t := &b.TLS
	if t.Mode == "" || t.Mode == config.TLSOff {
		return nil, nil
	}
	key := "backend." + b.Name + ".tls."
	back := &backTLS{implicit: t.Mode == config.TLSImplicit, data: cmp.Or(t.Data, config.DataPrivate), strictEOF: t.StrictEOF,
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
			failed = append(failed, &TLSError{key + "ca", err})
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

// keyPairError names the key whose file is at fault.
func keyPairError(table string, pair config.KeyPair, err error) error {
	var file *certs.FileError
	if errors.As(err, &file) && file.Path == pair.Key && pair.Key != pair.Certificate {
		return &TLSError{table + "key", err}
	}
	return &TLSError{table + "certificate", err}
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
