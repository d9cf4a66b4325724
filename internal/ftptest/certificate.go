package ftptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
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
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: names[0]},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	both := append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	c := TestCertificate{Pool: x509.NewCertPool(), File: filepath.Join(t.TempDir(), "certificate.pem")}
	if c.Certificate, err = tls.X509KeyPair(both, both); err != nil {
		t.Fatal(err)
	}
	c.Pool.AddCert(c.Leaf)
	if err := os.WriteFile(c.File, both, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}
