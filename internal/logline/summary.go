package logline

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Kind is a kind of line that a peer can cause at will. Of each kind the first
// lines of an address are written as they happen, with all their fields; what comes
// in the rest of that minute is counted, and told of in one line at its end.
type Kind struct {
	Message string
	About   string // the key of what it is about: frontend, backend or side
	Detail  string // the key of what else tells one kind from another, or empty
	Lines   int    // of an address in a minute, before they are counted only
}

const (
	// summaryAfter is how long lines are counted before it is told how many.
	summaryAfter = time.Minute
	// maxSummed bounds the addresses of one kind that are told apart.
	maxSummed = 64
)

// A Summary counts lines for a minute. Without any it has no timer. The zero value
// with a log is ready.
type Summary struct {
	Log Log

	mu      sync.Mutex
	tallies map[summaryKey]*tally
	timer   *time.Timer // runs while there are tallies
	closed  bool

	telling sync.Mutex     // held while lines are written
	writing sync.WaitGroup // lines that Later has not written yet
}

type summaryKey struct {
	kind          *Kind
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

// Often begins a line of kind k that peer has caused, about a frontend, backend or
// side; or one that is not written, because it is only counted. It is cheap, and
// waits for nobody.
func (s *Summary) Often(k *Kind, about, detail string, peer netip.Addr) Line {
	if !s.first(summaryKey{k, about, detail}, peer) {
		return Line{}
	}
	return s.Log.Warn()
}

// first counts a line, and tells whether it is to be written.
func (s *Summary) first(key summaryKey, peer netip.Addr) bool {
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
	return n < key.kind.Lines
}

// tell writes what was only counted, and begins anew.
func (s *Summary) tell() {
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
		tallies[key].tell(s.Log, key)
	}
}

func (k summaryKey) compare(other summaryKey) int {
	return strings.Compare(k.kind.Message+k.about+k.detail, other.kind.Message+other.about+other.detail)
}

func (t *tally) tell(log Log, key summaryKey) {
	count, most := t.others, 0
	var busiest netip.Prefix
	for by, n := range t.byPeer {
		count += max(0, n-key.kind.Lines)
		if n > most || n == most && by.Addr().Less(busiest.Addr()) {
			busiest, most = by, n
		}
	}
	if count == 0 {
		return
	}
	line := log.Warn().Str("line", Word(key.kind.Message)).Str(key.kind.About, Word(key.about))
	if key.kind.Detail != "" {
		line = line.Str(key.kind.Detail, Word(key.detail))
	}
	line = line.Int("count", count).Int("addresses", len(t.byPeer))
	if t.others > 0 {
		line = line.Int("others", t.others)
	}
	line.Str("busiest", peerName(busiest)).Int("busiest_count", most).Msg("repeated lines summed up")
}

// peerName is an address, or the /64 of one.
func peerName(by netip.Prefix) Word {
	switch {
	case !by.IsValid():
		return "unknown"
	case by.IsSingleIP():
		return Word(by.Addr().String())
	}
	return Word(by.String())
}

// Later writes a line where the caller must not wait. run is a go statement.
func (s *Summary) Later(run func(task func()), write func()) {
	s.writing.Add(1)
	run(func() {
		defer s.writing.Done()
		write()
	})
}

// Close tells what is left. Nothing is counted after it.
func (s *Summary) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.writing.Wait()
	s.tell()
}
