package logline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

var (
	stranger    = &Kind{Message: "a stranger's connection closed", About: "side", Lines: 1}
	unwanted    = &Kind{Message: "reply dropped", About: "backend", Lines: 1}
	loginFailed = &Kind{Message: "login failed", About: "frontend", Lines: 10}
)

// summed runs what on a summary and returns the lines of its log, without their level.
func summed(t *testing.T, what func(s *Summary, cause func(k *Kind, about, peer string) bool)) []string {
	t.Helper()
	var log bytes.Buffer
	synctest.Test(t, func(*testing.T) {
		s := &Summary{Log: Log{Logger: zerolog.New(&log)}}
		what(s, func(k *Kind, about, peer string) bool {
			addr, _ := netip.ParseAddr(peer)
			return s.first(summaryKey{k, about, ""}, addr)
		})
	})
	var lines []string
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "level")
		text, _ := json.Marshal(fields) // in the order of the keys
		lines = append(lines, string(text))
	}
	return lines
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The first of an address is written, and how many came after it, once a minute.
func TestSummary(t *testing.T) {
	got := summed(t, func(s *Summary, cause func(*Kind, string, string) bool) {
		for n := range 1000 {
			if wrote := cause(stranger, "client", "198.51.100.7"); wrote != (n == 0) {
				t.Errorf("line %d written: %v", n, wrote)
			}
		}
		if !cause(stranger, "client", "198.51.100.8") || !cause(stranger, "server", "198.51.100.7") {
			t.Error("another address, or another side, was not news")
		}
		time.Sleep(summaryAfter - 1)
		cause(stranger, "client", "198.51.100.8")
		time.Sleep(2 * time.Nanosecond)
		if !cause(stranger, "client", "198.51.100.7") {
			t.Error("after a minute it is not written again")
		}
		time.Sleep(time.Hour)
	})
	wantLines(t, got, `{"addresses":2,"busiest":"198.51.100.7","busiest_count":1000,"count":1000,`+
		`"line":"a stranger's connection closed","message":"repeated lines summed up","side":"client"}`)
}

// What is left is told at the end, and after it everything is written.
func TestSummaryClose(t *testing.T) {
	got := summed(t, func(s *Summary, cause func(*Kind, string, string) bool) {
		for range 3 {
			cause(unwanted, "inside", "")
		}
		s.Close()
		if !cause(unwanted, "inside", "") || s.timer != nil {
			t.Error("it still counts")
		}
		s.Close()
	})
	wantLines(t, got, `{"addresses":1,"backend":"inside","busiest":"unknown","busiest_count":3,"count":2,`+
		`"line":"reply dropped","message":"repeated lines summed up"}`)
}

// A quiet summary has nothing: no timer, no table.
func TestSummaryQuiet(t *testing.T) {
	summed(t, func(s *Summary, cause func(*Kind, string, string) bool) {
		cause(stranger, "client", "198.51.100.7")
		time.Sleep(2 * summaryAfter)
		synctest.Wait()
		if s.timer != nil || s.tallies != nil {
			t.Errorf("it has %v, %v", s.timer, s.tallies)
		}
	})
}

// Addresses beyond the bound are counted together; those of an IPv6 /64 are one.
func TestSummaryOfManyAddresses(t *testing.T) {
	got := summed(t, func(s *Summary, cause func(*Kind, string, string) bool) {
		written := 0
		for n := range 1000 {
			if cause(loginFailed, "public", fmt.Sprintf("2001:db8:0:%x::%x", n, n)) {
				written++
			}
		}
		if written != maxSummed || len(s.tallies[summaryKey{loginFailed, "public", ""}].byPeer) != maxSummed {
			t.Errorf("%d lines written", written)
		}
		for n := range 20 {
			if wrote := cause(loginFailed, "public", fmt.Sprintf("2001:db8:0:5::%x", n)); wrote != (n < loginFailed.Lines-1) {
				t.Errorf("failure %d written: %v", n, wrote)
			}
		}
		s.Close()
	})
	wantLines(t, got, `{"addresses":64,"busiest":"2001:db8:0:5::/64","busiest_count":21,"count":947,"frontend":"public",`+
		`"line":"login failed","message":"repeated lines summed up","others":936}`)
}
