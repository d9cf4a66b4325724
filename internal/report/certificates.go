package report

import (
	"sync"
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
)

// ExpiryLook is how often the certificates in force are looked at.
const ExpiryLook = 24 * time.Hour

// Certificates tells of the certificates in force. Log and Metrics must be set.
type Certificates struct {
	Log     logline.Log
	Metrics *metrics.Metrics

	mu      sync.Mutex
	serials map[[2]string]string // by frontend and file
	look    *time.Timer          // nil: there is nothing to look at
}

// Use puts what clients are shown into the metrics, and whose backends' certificates are not
// verified, and looks at it once a day from now on.
func (c *Certificates) Use(all []ftps.Certificate, unverified map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var shown []metrics.Certificate
	for _, one := range all {
		shown = append(shown, metrics.Certificate{Frontend: one.Frontend, Name: one.Name(), NotAfter: one.Leaf.NotAfter})
	}
	c.Metrics.Certificates(shown)
	c.Metrics.Unverified(unverified)
	c.tellRenewed(all)
	c.stop()
	if len(all) == 0 {
		return
	}
	var look *time.Timer
	look = time.AfterFunc(ExpiryLook, func() {
		for _, w := range ftps.Expiring(all, time.Now()) {
			c.Log.Warn().Str("key", word(w.Key)).Str("problem", word(w.Message)).Str("hint", word(w.Hint)).Msg("configuration warning")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.look == look {
			look.Reset(ExpiryLook)
		}
	})
	c.look = look
}

// tellRenewed logs the certificates whose files hold another one than before: the
// configuration itself does not change then.
func (c *Certificates) tellRenewed(all []ftps.Certificate) {
	serials := make(map[[2]string]string)
	for _, one := range all {
		key, serial := [2]string{one.Frontend, one.File}, one.Leaf.SerialNumber.Text(16)
		serials[key] = serial
		if before, known := c.serials[key]; known && before != serial {
			c.Log.Info().Str("frontend", word(one.Frontend)).Str("certificate", word(one.File)).Text("name", one.Name()).
				Str("serial", word(serial)).Time("not_after", one.Leaf.NotAfter).Msg("certificate renewed")
		}
	}
	c.serials = serials
}

// Stop ends the looking.
func (c *Certificates) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
}

func (c *Certificates) stop() {
	if c.look != nil {
		c.look.Stop()
		c.look = nil
	}
}
