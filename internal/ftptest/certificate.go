package ftptest

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ftproxy/internal/certs"
)

// A TestCertificate is a self-signed one, which is an authority, too: whoever trusts
// Pool trusts it, as that of a server and of a client.
type TestCertificate struct {
	tls.Certificate
	Pool *x509.CertPool
	File string // PEM: the certificate and its key
}

// Certificate makes a certificate for names and addresses, the first of which is its
// common name. It is valid from an hour ago for a year.
func Certificate(t testing.TB, names ...string) TestCertificate {
	t.Helper()
	return CertificateUntil(t, time.Now().AddDate(1, 0, 0), names...)
}

// CertificateUntil is Certificate that ceases to be valid at a time.
func CertificateUntil(t testing.TB, end time.Time, names ...string) TestCertificate {
	t.Helper()
	certificate, key, err := certs.SelfSigned(end, names...)
	if err != nil {
		t.Fatal(err)
	}
	c := TestCertificate{Pool: x509.NewCertPool(), File: filepath.Join(t.TempDir(), "certificate.pem")}
	if c.Certificate, err = tls.X509KeyPair(certificate, key); err != nil {
		t.Fatal(err)
	}
	c.Pool.AddCert(c.Leaf)
	if err := os.WriteFile(c.File, slices.Concat(certificate, key), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}
