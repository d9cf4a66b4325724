package proxy

import (
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/metrics"
)

// expiryLook is how often the certificates in force are looked at.
const expiryLook = 24 * time.Hour

// tellCertificates puts what the runtime in force shows and trusts into the
// metrics, and looks at it once a day. It is called with the process locked.
func (p *Process) tellCertificates(rt *Runtime) {
	var all []metrics.Certificate
	for _, c := range rt.certificates {
		all = append(all, metrics.Certificate{Frontend: c.Frontend, Name: c.Name(), NotAfter: c.Leaf.NotAfter})
	}
	p.metrics.Certificates(all)
	p.tellRenewed(rt)
	unverified := make(map[string]bool)
	for _, fe := range rt.frontends {
		if b := fe.backend; b.TLS != nil {
			unverified[b.Name] = !b.TLS.Verifies()
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
	for _, c := range rt.certificates {
		key, serial := [2]string{c.Frontend, c.File}, c.Leaf.SerialNumber.Text(16)
		serials[key] = serial
		if before, known := p.serials[key]; known && before != serial {
			p.log.Info().Str("frontend", word(c.Frontend)).Str("certificate", word(c.File)).Text("name", c.Name()).
				Str("serial", word(serial)).Time("not_after", c.Leaf.NotAfter).Msg("certificate renewed")
		}
	}
	p.serials = serials
}

// lookAtCertificates warns of what is in force, and comes again.
func (p *Process) lookAtCertificates(rt *Runtime) {
	for _, w := range ftps.Expiring(rt.certificates, time.Now()) {
		p.log.Warn().Str("key", word(w.Key)).Str("problem", word(w.Message)).Str("hint", word(w.Hint)).Msg("configuration warning")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Draining() && p.runtime.Load() == rt {
		p.expiry.Reset(expiryLook)
	}
}
