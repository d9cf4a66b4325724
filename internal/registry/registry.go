// Package registry holds the sessions that live now: what never changes of each, what it
// shows of itself, and what others tell it. Limits count on it. Whoever lists sessions
// waits for none of them, and no session waits for a listing.
package registry

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ftproxy/internal/logline"
)

// A Registry is the sessions of a process. It is ready after Init.
type Registry struct {
	// Sessions are waited for, and the transfers and connections that may outlive them.
	sync.WaitGroup
	prefix    string        // tells the sessions of one process from those of its predecessor
	verbs     logline.Verbs // which commands have secrets
	last      atomic.Uint64
	transfers atomic.Int64 // being agreed on, agreed on or running: one for each session at most

	mu       sync.Mutex
	live     map[uint64]*Entry
	byClient map[netip.Addr]int
	unknown  int  // connections that count as sessions until it shows whose they are
	closed   bool // no session is added any more
}

// Limits are how many sessions there may be. 0: any number.
type Limits struct{ Sessions, PerClient int }

// Init makes the registry ready. verbs says which commands have secrets.
func (r *Registry) Init(verbs logline.Verbs) {
	prefix := make([]byte, 3)
	_, _ = rand.Read(prefix) // It never fails (crypto/rand).
	r.prefix, r.verbs = hex.EncodeToString(prefix), verbs
	r.live, r.byClient = make(map[uint64]*Entry), make(map[netip.Addr]int)
}

// Enter adds a session, or says which limit forbids it.
func (r *Registry) Enter(s Session, l Limits) (e *Entry, limit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	client := s.ClientAddr.Addr()
	switch {
	case r.closed:
		return nil, "draining"
	case l.Sessions > 0 && len(r.live)+r.unknown >= l.Sessions:
		return nil, "sessions"
	case l.PerClient > 0 && r.byClient[client] >= l.PerClient:
		return nil, "sessions_per_client"
	}
	e = &Entry{Session: s, ID: r.last.Add(1), Began: time.Now(), news: make(chan struct{}, 1)}
	r.live[e.ID] = e
	r.byClient[client]++
	r.Add(1)
	return e, ""
}

// Await counts a connection as a session until Awaited, or says which limit forbids it.
func (r *Registry) Await(sessions int) (limit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return "draining"
	case sessions > 0 && len(r.live)+r.unknown >= sessions:
		return "sessions"
	}
	r.unknown++
	return ""
}

// Awaited ends what Await began.
func (r *Registry) Awaited() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown--
}

// Remove takes a session out again.
func (r *Registry) Remove(e *Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, e.ID)
	client := e.ClientAddr.Addr()
	if r.byClient[client]--; r.byClient[client] == 0 {
		delete(r.byClient, client)
	}
	r.Done()
}

// Entries lists the sessions, the oldest first. Nobody waits while the list is used.
func (r *Registry) Entries() []*Entry {
	r.mu.Lock()
	all := make([]*Entry, 0, len(r.live))
	for _, e := range r.live {
		all = append(all, e)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *Entry) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Find gives the session of a name, or nil.
func (r *Registry) Find(name string) *Entry {
	number, _ := strings.CutPrefix(name, r.prefix+"-")
	id, err := strconv.ParseUint(number, 16, 64)
	if err != nil || r.Name(id) != name {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[id]
}

// Name is what tells a session from all others.
func (r *Registry) Name(id uint64) string { return r.prefix + "-" + strconv.FormatUint(id, 16) }

// Started is how many sessions there have been.
func (r *Registry) Started() uint64 { return r.last.Load() }

// Drain ends what is idle, and lets no session be added any more.
func (r *Registry) Drain() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, e := range r.Entries() {
		e.leave()
	}
}

// StopAll is the hard stop of all sessions. It comes after Drain, so that none is added.
func (r *Registry) StopAll(why error) {
	for _, e := range r.Entries() {
		e.Stop(why)
	}
}

// Busy tells whether a hard stop would end anything: a session that only waits for its
// client's FIN has nothing left to do.
func (r *Registry) Busy() bool {
	return slices.ContainsFunc(r.Entries(), func(e *Entry) bool { return e.state().Stage != Lingering })
}

// TakeTransfer counts one more transfer, or tells that the limit is reached. 0 is no
// limit.
func (r *Registry) TakeTransfer(limit int) bool {
	for {
		n := r.transfers.Load()
		if limit > 0 && n >= int64(limit) {
			return false
		}
		if r.transfers.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// FreeTransfer counts one less.
func (r *Registry) FreeTransfer() { r.transfers.Add(-1) }

// Transfers is how many are counted.
func (r *Registry) Transfers() int { return int(r.transfers.Load()) }

// Snapshots tells of all sessions, the oldest first.
func (r *Registry) Snapshots() []Snapshot {
	entries := r.Entries()
	all := make([]Snapshot, len(entries))
	for i, e := range entries {
		all[i] = r.Snapshot(e)
	}
	return all
}
