package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// A demoCertificate is a certificate of the demo's own, in two files of a directory
// that goes with it.
type demoCertificate struct {
	dir              string
	certificate, key string // paths
}

// newDemoCertificate makes one for an address, good for a day.
func newDemoCertificate(at netip.Addr) (*demoCertificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "ftproxy demo"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // So that it can vouch for itself, as curl --cacert has it.
		IPAddresses:           []net.IP{at.AsSlice()},
		DNSNames:              []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ftproxy-demo-")
	if err != nil {
		return nil, fmt.Errorf("a place for the certificate: %w", err)
	}
	c := &demoCertificate{dir, filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")}
	for path, block := range map[string]*pem.Block{
		c.certificate: {Type: "CERTIFICATE", Bytes: der},
		c.key:         {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			c.remove()
			return nil, err
		}
	}
	return c, nil
}

func (c *demoCertificate) remove() { _ = os.RemoveAll(c.dir) }
