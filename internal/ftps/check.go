package ftps

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"ftproxy/config"
	"ftproxy/internal/certs"
)

// expirySoon is how long before its end a certificate is warned of: those of
// Let's Encrypt are renewed 30 days before.
const expirySoon = 21 * 24 * time.Hour

// A Warning is something about a file of TLS that will be a fault one day, or is a
// danger.
type Warning struct{ Key, Message, Hint string }

// Check reads the files that a checked configuration names, as Apply would, and
// opens nothing. Its errors are [ConfigError]s, joined; without one it tells what else
// is to be said of the files.
func Check(c *config.Config) ([]Warning, error) {
	var shown []Certificate
	var failed []error
	for _, b := range c.Backends {
		_, err := NewBackend(&b)
		failed = append(failed, err)
	}
	for _, f := range c.Frontends {
		front, err := NewFrontend(&f)
		failed = append(failed, err)
		shown = append(shown, front.Certificates()...)
	}
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	Sort(shown)
	warnings := slices.Concat(Expiring(shown, time.Now()), nameless(shown))
	exposed := func(key string, pair config.KeyPair) {
		if pair.Key != "" && certs.Exposed(pair.Key) {
			warnings = append(warnings, Warning{key, fmt.Sprintf("everybody on this machine can read the private key in %s", pair.Key), "run: chmod o= " + pair.Key})
		}
	}
	for _, f := range c.Frontends {
		for _, pair := range f.TLS.Certificates {
			exposed("frontend."+f.Name+".tls.certificate", pair)
		}
	}
	for _, b := range c.Backends {
		exposed("backend."+b.Name+".tls.certificate", b.TLS.Certificate)
	}
	return warnings, nil
}

// Sort brings certificates into the order of their frontends and files.
func Sort(all []Certificate) {
	slices.SortFunc(all, func(a, b Certificate) int {
		return cmp.Or(cmp.Compare(a.Frontend, b.Frontend), cmp.Compare(a.File, b.File))
	})
}

// Expiring tells of the certificates that are not valid any more, or soon not.
func Expiring(all []Certificate, now time.Time) (warnings []Warning) {
	for _, c := range all {
		left := c.Leaf.NotAfter.Sub(now)
		if left >= expirySoon {
			continue
		}
		message := fmt.Sprintf("the certificate in %s for %s expires on %s", c.File, c.Name(), c.Leaf.NotAfter.UTC().Format(time.DateOnly))
		if left <= 0 {
			message = fmt.Sprintf("the certificate in %s for %s has expired on %s", c.File, c.Name(), c.Leaf.NotAfter.UTC().Format(time.DateOnly))
		}
		warnings = append(warnings, Warning{"frontend." + c.Frontend + ".tls.certificate", message, "renew it, and reload ftproxy"})
	}
	return warnings
}

// nameless tells of the certificates that have no name that clients look at: since
// RFC 6125 that is subjectAltName alone.
func nameless(all []Certificate) (warnings []Warning) {
	for _, c := range all {
		if len(c.Leaf.DNSNames) == 0 && len(c.Leaf.IPAddresses) == 0 {
			warnings = append(warnings, Warning{"frontend." + c.Frontend + ".tls.certificate",
				fmt.Sprintf("the certificate in %s has no subjectAltName, so most clients reject it", c.File),
				`make one with the name that clients connect to: openssl req -x509 … -addext "subjectAltName=DNS:ftp.example.net"`})
		}
	}
	return warnings
}
