package proxy

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

	"ftproxy/internal/origin"
)

// A registry holds the sessions that live now. Limits count on it, and whoever looks at
// sessions or ends them finds them here.
type registry struct {
	// Sessions are waited for, and the transfers and connections that may outlive them.
	sync.WaitGroup
	prefix    string // tells the sessions of one process from those of its predecessor
	last      atomic.Uint64
	transfers atomic.Int64 // being agreed on, agreed on or running: one for each session at most

	mu       sync.Mutex
	live     map[uint64]*entry
	byClient map[netip.Addr]int
	unknown  int  // connections that count as sessions until it shows whose they are
	closed   bool // no session is added any more
}

func (r *registry) init() {
	prefix := make([]byte, 3)
	_, _ = rand.Read(prefix) // It never fails (crypto/rand).
	r.prefix = hex.EncodeToString(prefix)
	r.live, r.byClient = make(map[uint64]*entry), make(map[netip.Addr]int)
}

// add makes the entry of a new session, or says which limit forbids it.
func (r *registry) add(rt *Runtime, fe *frontend, from origin.Origin) (e *entry, refusal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	client := from.Client.Addr()
	limits := rt.limits
	switch {
	case r.closed:
		return nil, "draining"
	case limits.Sessions > 0 && len(r.live)+r.unknown >= limits.Sessions:
		return nil, "sessions"
	case limits.SessionsPerClient > 0 && r.byClient[client] >= limits.SessionsPerClient:
		return nil, "sessions_per_client"
	}
	e = newEntry(r.last.Add(1), rt, fe, from)
	r.live[e.id] = e
	r.byClient[client]++
	r.Add(1)
	return e, ""
}

// await counts a connection until awaited, or says which limit forbids it.
func (r *registry) await(rt *Runtime) (refusal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return "draining"
	case rt.limits.Sessions > 0 && len(r.live)+r.unknown >= rt.limits.Sessions:
		return "sessions"
	}
	r.unknown++
	return ""
}

func (r *registry) awaited() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown--
}

func (r *registry) remove(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, e.id)
	client := e.clientAddr.Addr()
	if r.byClient[client]--; r.byClient[client] == 0 {
		delete(r.byClient, client)
	}
	r.Done()
}

// entries lists the sessions, the oldest first. Nobody waits while the list is used.
func (r *registry) entries() []*entry {
	r.mu.Lock()
	all := make([]*entry, 0, len(r.live))
	for _, e := range r.live {
		all = append(all, e)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
	return all
}

// find gives the session of a name, or nil.
func (r *registry) find(name string) *entry {
	number, _ := strings.CutPrefix(name, r.prefix+"-")
	id, err := strconv.ParseUint(number, 16, 64)
	if err != nil || r.name(id) != name {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[id]
}

// name is what tells a session from all others.
func (r *registry) name(id uint64) string { return r.prefix + "-" + strconv.FormatUint(id, 16) }

// drain ends what is idle, and lets no session be added any more.
func (r *registry) drain() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, e := range r.entries() {
		e.leave()
	}
}

// stopAll is the hard stop of all sessions. It comes after drain, so that none is added.
func (r *registry) stopAll(why *ending) {
	for _, e := range r.entries() {
		e.stop(why)
	}
}

// busy tells whether a hard stop would end anything: a session that only waits for its
// client's FIN has nothing left to do.
func (r *registry) busy() bool {
	return slices.ContainsFunc(r.entries(), func(e *entry) bool { return e.shown.Load().stage != lingering })
}

// takeTransfer counts one more transfer, or tells that the limit is reached.
func (r *registry) takeTransfer(limit int) bool {
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

func (r *registry) freeTransfer() { r.transfers.Add(-1) }

// A Snapshot is a session as it was at one moment.
type Snapshot struct {
	ID                   string // as in the log
	Client, Local        netip.AddrPort
	Frontend, Backend    string
	Server               netip.AddrPort // invalid: none yet
	User                 string         // empty: not logged in
	Since                time.Time
	Stage                string // connecting, greeted, logged_in or lingering
	ClientTLS, ServerTLS string // the versions; empty: in the clear
	Command              string // the last one; what is secret of it is withheld
	Transferring         bool
}

// Sessions lists the sessions that live now, the oldest first. No session waits for it.
func (p *Process) Sessions() []Snapshot {
	entries := p.sessions.entries()
	all := make([]Snapshot, len(entries))
	for i, e := range entries {
		all[i] = e.snapshot(p.sessions.name(e.id))
	}
	return all
}

// Session finds one session by its ID.
func (p *Process) Session(id string) (Snapshot, bool) {
	e := p.sessions.find(id)
	if e == nil {
		return Snapshot{}, false
	}
	return e.snapshot(id), true
}

// EndSession is the hard stop of one session: its transfer is aborted, and its client
// gets 421. It reports false if there is no such session; it does not wait for the end.
func (p *Process) EndSession(id string) bool {
	e := p.sessions.find(id)
	if e != nil {
		e.stop(&ending{reason: endStopped, text: "Session ended by the administrator."})
	}
	return e != nil
}
