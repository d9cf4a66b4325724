package proxy

import (
	"time"

	"ftproxy/internal/balance"
	"ftproxy/internal/portpool"
)

// A Status is what a process does at one moment.
type Status struct {
	Sessions     int            // that live now
	ByFrontend   map[string]int // of these, where there are any
	Earlier      int            // of these, with the rules of an earlier configuration
	SessionLimit int
	Started      uint64 // sessions, since the process began
	Transfers    int    // data connections agreed on or in use, or about to be
	Applied      time.Time
	Draining     bool
	Ports        []portpool.Usage            // of the ranges that are in use or waited for
	Servers      map[string]balance.Snapshot // by the backend's name
	Descriptors  int                         // the limit; 0: unknown
}

// Status tells what the process does now.
func (p *Process) Status() Status {
	entries := p.sessions.Entries()
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{
		Sessions:    len(entries),
		ByFrontend:  make(map[string]int),
		Started:     p.sessions.Started(),
		Transfers:   p.sessions.Transfers(),
		Applied:     p.applied,
		Draining:    p.Draining(),
		Ports:       p.ports.Snapshot(),
		Servers:     p.servers.Snapshots(),
		Descriptors: p.descriptors,
	}
	rt := p.runtime.Load()
	if rt != nil {
		st.SessionLimit = rt.limits.Sessions
	}
	for _, e := range entries {
		st.ByFrontend[e.Frontend]++
		if e.Rules != any(rt) {
			st.Earlier++
		}
	}
	return st
}
