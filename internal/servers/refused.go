package servers

import (
	"net/netip"
	"sync"
	"time"
)

// RefusalMemory is how long a server that refused EPSV or EPRT is not asked again: it may
// have been replaced meanwhile.
const RefusalMemory = time.Hour

// Refusals are the verbs that servers did not know, as sessions have learned, so that the
// next session need not learn it again. The zero value is ready.
type Refusals struct {
	mu    sync.RWMutex
	until map[refusal]time.Time
}

// A refusal is a verb that a server does not know.
type refusal struct {
	server netip.AddrPort
	verb   string
}

// Has tells whether a server is known not to know a verb.
func (r *Refusals) Has(server netip.AddrPort, verb string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	until, known := r.until[refusal{server, verb}]
	return known && time.Now().Before(until)
}

// Remember notes that a server has refused a verb. What is too old is forgotten, so
// that addresses that servers had once do not stay.
func (r *Refusals) Remember(server netip.AddrPort, verb string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for known, until := range r.until {
		if !now.Before(until) {
			delete(r.until, known)
		}
	}
	if r.until == nil {
		r.until = make(map[refusal]time.Time)
	}
	r.until[refusal{server, verb}] = now.Add(RefusalMemory)
}
