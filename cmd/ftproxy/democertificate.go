package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"ftproxy/internal/certs"
)

// A demoCertificate is a certificate of the demo's own, in two files of a directory
// that goes with it.
type demoCertificate struct {
	dir              string
	certificate, key string // paths
}

// newDemoCertificate makes one for an address, good for a day.
func newDemoCertificate(at netip.Addr) (*demoCertificate, error) {
	certificate, key, err := certs.SelfSigned(time.Now().AddDate(0, 0, 1), at.String(), "localhost")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ftproxy-demo-")
	if err != nil {
		return nil, fmt.Errorf("a place for the certificate: %w", err)
	}
	c := &demoCertificate{dir, filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")}
	for path, text := range map[string][]byte{c.certificate: certificate, c.key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			c.remove()
			return nil, err
		}
	}
	return c, nil
}

func (c *demoCertificate) remove() { _ = os.RemoveAll(c.dir) }
