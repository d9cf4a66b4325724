package proxy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// repeated is a kind of line that a peer can cause at will. Of each kind the first
// lines of an address are written as they happen, with all their fields; what comes
// in the rest of that minute is counted, and told of in one line at its end.
type repeated struct {
	message string
	about   string // the key of what it is about: frontend, backend or side
	detail  string // the key of what else tells one kind from another, or empty
	lines   int    // of an address in a minute, before they are counted only
}

var (
	stranger          = &repeated{message: "data connection of a stranger closed", about: "side", lines: 1}
	tooLate           = &repeated{message: "data connection came too late", about: "side", lines: 1}
	crowded           = &repeated{message: "too many connections wait to prove whose they are", about: "side", lines: 1}
	sessionRefused    = &repeated{message: "session refused", about: "frontend", detail: "limit", lines: 1}
	headerUnusable    = &repeated{message: "connection without a usable PROXY header", about: "frontend", detail: "reason", lines: 1}
	notReused         = &repeated{message: "data connection without its TLS session refused", about: "frontend", lines: 1}
	unasked           = &repeated{message: "reply that nobody asked for dropped", about: "backend", lines: 1}
	endlessReply      = &repeated{message: "reply too long", about: "backend", lines: 1}
	protectionRefused = &repeated{message: "the server refuses protection", about: "backend", lines: 1}
	noConnection      = &repeated{message: "no data connection", about: "frontend", lines: 1}
	noPort            = &repeated{message: "no data port", about: "frontend", lines: 1}
	serverUnusable    = &repeated{message: "server not usable", about: "backend", lines: 10}
	dataLost          = &repeated{message: "data connection lost before the command", about: "frontend", lines: 1}
	// Who guesses passwords is told of by each name, as long as one can read it.
	loginFailed = &repeated{message: "login failed", about: "frontend", lines: 10}
)

const (
	// summaryAfter is how long lines are counted before it is told how many.
	summaryAfter = time.Minute
	// maxSummed bounds the addresses of one kind that are told apart.
	maxSummed = 64
)

// often begins a line of kind k that peer has caused, about a frontend, backend or
// side; or one that is not written, because it is only counted. It is cheap, and
// waits for nobody.
func (p *Process) often(k *repeated, about, detail string, peer netip.Addr) logLine {
	if !p.repeats.first(summaryKey{k, about, detail}, peer) {
		return logLine{}
	}
	return p.log.Warn()
}

// A summary counts lines for a minute. Without any it has no timer. The zero value
// with a log is ready.
type summary struct {
	log processLog

	mu      sync.Mutex
	tallies map[summaryKey]*tally
	timer   *time.Timer // runs while there are tallies
	closed  bool

	telling sync.Mutex     // held while lines are written
	writing sync.WaitGroup // lines that later has not written yet
}

type summaryKey struct {
	kind          *repeated
	about, detail string
}

// A tally is what happened in a minute of one kind.
type tally struct {
	byPeer map[netip.Prefix]int
	others int // of addresses that have no place in byPeer
}

// summedBy is what one peer is told apart by: a host has all of an IPv6 /64.
func summedBy(peer netip.Addr) netip.Prefix {
	peer = peer.Unmap().WithZone("")
	bits := 32
	if peer.Is6() {
		bits = 64
	}
	prefix, _ := peer.Prefix(bits) // Invalid for an address that is not known.
	return prefix
}

// first counts a line, and tells whether it is to be written.
func (s *summary) first(key summaryKey, peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return true
	}
	if s.timer == nil {
		s.tallies = make(map[summaryKey]*tally)
		s.timer = time.AfterFunc(summaryAfter, s.tell)
	}
	t := s.tallies[key]
	if t == nil {
		t = &tally{byPeer: make(map[netip.Prefix]int)}
		s.tallies[key] = t
	}
	by := summedBy(peer)
	n := t.byPeer[by]
	if n == 0 && len(t.byPeer) == maxSummed {
		t.others++
		return false
	}
	t.byPeer[by] = n + 1
	return n < key.kind.lines
}

// tell writes what was only counted, and begins anew.
func (s *summary) tell() {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	tallies := s.tallies
	s.tallies = nil
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(tallies), summaryKey.compare) {
		tallies[key].tell(s.log, key)
	}
}

func (k summaryKey) compare(other summaryKey) int {
	return strings.Compare(k.kind.message+k.about+k.detail, other.kind.message+other.about+other.detail)
}

func (t *tally) tell(log processLog, key summaryKey) {
	count, most := t.others, 0
	var busiest netip.Prefix
	for by, n := range t.byPeer {
		count += max(0, n-key.kind.lines)
		if n > most || n == most && by.Addr().Less(busiest.Addr()) {
			busiest, most = by, n
		}
	}
	if count == 0 {
		return
	}
	line := log.Warn().Str("line", word(key.kind.message)).Str(key.kind.about, word(key.about))
	if key.kind.detail != "" {
		line = line.Str(key.kind.detail, word(key.detail))
	}
	line = line.Int("count", count).Int("addresses", len(t.byPeer))
	if t.others > 0 {
		line = line.Int("others", t.others)
	}
	line.Str("busiest", peerName(busiest)).Int("busiest_count", most).Msg("repeated lines summed up")
}

// peerName is an address, or the /64 of one.
func peerName(by netip.Prefix) word {
	switch {
	case !by.IsValid():
		return "unknown"
	case by.IsSingleIP():
		return word(by.Addr().String())
	}
	return word(by.String())
}

// later writes a line where the caller must not wait. run is a go statement.
func (s *summary) later(run func(task func()), write func()) {
	s.writing.Add(1)
	run(func() {
		defer s.writing.Done()
		write()
	})
}

// close tells what is left. Nothing is counted after it.
func (s *summary) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.writing.Wait()
	s.tell()
}
