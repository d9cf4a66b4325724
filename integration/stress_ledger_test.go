package integration

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A tally is one thing that a row of TestStress counts.
type tally int

const (
	transferred   tally = iota // 226, and the same bytes at both ends
	mismatched                 // bytes of another transfer at either end
	falselyDone                // 226, but not the same bytes at both ends
	unserved                   // a prompt client was told a port and not served there
	againUnserved              // likewise after a transfer that was refused (550)
	lateUnserved               // likewise one that came late, within data_connect
	emptyCut                   // an upload of no bytes that HAProxy reset (TestHAProxyEmptyUpload)
	noPort                     // 425 instead of a port
	said421
	gaveUp  // a data connection that the client gave up
	noFile  // 550 for a file that is not there
	aborted // ABOR
	lost    // control connections that the client dropped
	silent  // PASV, and nothing after it
	broken  // anything else that must not be, such as no reply at all
	tallies
)

var tallyNames = [tallies]string{"transfers", "mismatches", "false 226", "told and not served", "not served after 550", "late and not served", "empty uploads cut by HAProxy",
	"425", "421", "given up", "550", "ABOR", "control lost", "silent", "other faults"}

// isFault tells which of them fail a row.
func (k tally) isFault() bool {
	return k == mismatched || k == falselyDone || k == unserved || k == againUnserved || k == broken
}

// maxShown bounds the faults that a row prints, of each kind.
const maxShown = 12

// A ledger is what a row has seen. Clients and the server write to it.
type ledger struct {
	counts [tallies]atomic.Int64
	verbs  [2]atomic.Int64 // mismatches of downloads and uploads
	began  time.Time
	mu     sync.Mutex
	faults []stressFault
	shown  [tallies]int
}

type stressFault struct {
	kind tally
	at   time.Time
	text string
}

func newLedger() *ledger { return &ledger{began: time.Now()} }

func (l *ledger) add(k tally) { l.counts[k].Add(1) }

func (l *ledger) get(k tally) int64 { return l.counts[k].Load() }

// fault counts one and keeps its story.
func (l *ledger) fault(k tally, format string, args ...any) {
	l.add(k)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown[k]++; l.shown[k] <= maxShown {
		l.faults = append(l.faults, stressFault{k, time.Now(), fmt.Sprintf(format, args...)})
	}
}

// mismatch is a fault with the side where the bytes were found.
func (l *ledger) mismatch(upload bool, format string, args ...any) {
	side := 0
	if upload {
		side = 1
	}
	l.verbs[side].Add(1)
	l.fault(mismatched, format, args...)
}

// summary is the row's line.
func (l *ledger) summary(took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d transfers, %.0f/s", l.get(transferred), float64(l.get(transferred))/took.Seconds())
	for k := mismatched; k < tallies; k++ {
		fmt.Fprintf(&b, ", %d %s", l.get(k), tallyNames[k])
		if k == mismatched {
			fmt.Fprintf(&b, " (%d downloads, %d uploads)", l.verbs[0].Load(), l.verbs[1].Load())
		}
	}
	return b.String()
}

// verdict logs what was seen, and fails the test for faults and for too few transfers.
func (l *ledger) verdict(t *testing.T, took time.Duration, least int64) {
	t.Helper()
	t.Log(l.summary(took))
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortStableFunc(l.faults, func(a, b stressFault) int { return cmp.Compare(a.kind, b.kind) })
	for _, f := range l.faults {
		t.Logf("%s after %.3f s: %s", tallyNames[f.kind], f.at.Sub(l.began).Seconds(), f.text)
	}
	for k := range tallies {
		if n := l.get(k); n > 0 && k.isFault() {
			t.Errorf("%d %s", n, tallyNames[k])
		}
	}
	if n := l.get(transferred); n < least {
		t.Errorf("%d transfers, want %d at least", n, least)
	}
}
