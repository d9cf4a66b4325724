package proxy

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"ftproxy/config"
	"ftproxy/internal/certs"
	"ftproxy/internal/metrics"
)

const (
	// expirySoon is how long before its end a certificate is warned of: those of
	// Let's Encrypt are renewed 30 days before.
	expirySoon = 21 * 24 * time.Hour
	// expiryLook is how often the certificates in force are looked at.
	expiryLook = 24 * time.Hour
)

// A shown certificate is one that clients see.
type shown struct {
	frontend, file string
	leaf           *x509.Certificate
}

// name is the first name in a certificate.
func (c shown) name() string {
	if len(c.leaf.DNSNames) > 0 {
		return c.leaf.DNSNames[0]
	}
	return c.leaf.Subject.CommonName
}

// A Warning is something about a file of TLS that will be a fault one day, or is a
// danger.
type Warning struct{ Key, Message, Hint string }

// Check reads the files that a checked configuration names, as Apply would, and
// opens nothing. Its errors are [TLSError]s, joined; without one it tells what else
// is to be said of the files.
func Check(c *config.Config) ([]Warning, error) {
	rt, err := newRuntime(c)
	if err != nil {
		return nil, err
	}
	warnings := slices.Concat(rt.expiring(time.Now()), rt.nameless())
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

// shown lists the certificates of all frontends.
func (rt *Runtime) shown() (all []shown) {
	seen := make(map[*frontend]bool)
	for _, fe := range rt.frontends {
		if fe.tls == nil || seen[fe] {
			continue
		}
		seen[fe] = true
		for i, c := range fe.tls.config.Certificates {
			all = append(all, shown{fe.name, fe.tls.files[i], c.Leaf})
		}
	}
	slices.SortFunc(all, func(a, b shown) int { return cmp.Or(cmp.Compare(a.frontend, b.frontend), cmp.Compare(a.file, b.file)) })
	return all
}

// expiring tells of the certificates that are not valid any more, or soon not.
func (rt *Runtime) expiring(now time.Time) (warnings []Warning) {
	for _, c := range rt.shown() {
		left := c.leaf.NotAfter.Sub(now)
		if left >= expirySoon {
			continue
		}
		message := fmt.Sprintf("the certificate in %s for %s expires on %s", c.file, c.name(), c.leaf.NotAfter.UTC().Format(time.DateOnly))
		if left <= 0 {
			message = fmt.Sprintf("the certificate in %s for %s has expired on %s", c.file, c.name(), c.leaf.NotAfter.UTC().Format(time.DateOnly))
		}
		warnings = append(warnings, Warning{"frontend." + c.frontend + ".tls.certificate", message, "renew it, and reload ftproxy"})
	}
	return warnings
}

// nameless tells of the certificates that have no name that clients look at: since
// RFC 6125 that is subjectAltName alone.
func (rt *Runtime) nameless() (warnings []Warning) {
	for _, c := range rt.shown() {
		if len(c.leaf.DNSNames) == 0 && len(c.leaf.IPAddresses) == 0 {
			warnings = append(warnings, Warning{"frontend." + c.frontend + ".tls.certificate",
				fmt.Sprintf("the certificate in %s has no subjectAltName, so most clients reject it", c.file),
				`make one with the name that clients connect to: openssl req -x509 … -addext "subjectAltName=DNS:ftp.example.net"`})
		}
	}
	return warnings
}

// tellCertificates puts what the runtime in force shows and trusts into the
// metrics, and looks at it once a day. It is called with the process locked.
func (p *Process) tellCertificates(rt *Runtime) {
	var all []metrics.Certificate
	for _, c := range rt.shown() {
		all = append(all, metrics.Certificate{Frontend: c.frontend, Name: c.name(), NotAfter: c.leaf.NotAfter})
	}
	p.metrics.Certificates(all)
	p.tellRenewed(rt)
	unverified := make(map[string]bool)
	for _, fe := range rt.frontends {
		if b := fe.backend; b.tls != nil {
			unverified[b.name] = b.tls.config.InsecureSkipVerify
		}
	}
	p.metrics.Unverified(unverified)
	if p.expiry != nil {
		p.expiry.Stop()
		p.expiry = nil
	}
	if len(all) > 0 {
		p.expiry = time.AfterFunc(expiryLook, func() { p.lookAtCertificates(rt) })
	}
}

// tellRenewed logs the certificates whose files hold another one than before: the
// configuration itself does not change then.
func (p *Process) tellRenewed(rt *Runtime) {
	serials := make(map[[2]string]string)
	for _, c := range rt.shown() {
		key, serial := [2]string{c.frontend, c.file}, c.leaf.SerialNumber.Text(16)
		serials[key] = serial
		if before, known := p.serials[key]; known && before != serial {
			p.log.Info().Str("frontend", word(c.frontend)).Str("certificate", word(c.file)).Text("name", c.name()).
				Str("serial", word(serial)).Time("not_after", c.leaf.NotAfter).Msg("certificate renewed")
		}
	}
	p.serials = serials
}

// lookAtCertificates warns of what is in force, and comes again.
func (p *Process) lookAtCertificates(rt *Runtime) {
	for _, w := range rt.expiring(time.Now()) {
		p.log.Warn().Str("key", word(w.Key)).Str("problem", word(w.Message)).Str("hint", word(w.Hint)).Msg("configuration warning")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.draining && p.runtime.Load() == rt {
		p.expiry.Reset(expiryLook)
	}
}
