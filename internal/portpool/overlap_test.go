package portpool

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// Two configurations that follow each other may listen on one address and on all.
// The connections of one must not arrive at the other, so a port that is open for
// the one is in use for the other, as the kernel would have it for another program.
func TestWildcardAndSingleAddressDoNotShareAPort(t *testing.T) {
	for _, tt := range []struct{ first, second string }{
		{"10.0.0.9", "0.0.0.0"},
		{"0.0.0.0", "10.0.0.9"},
		{"2001:db8::9", "::"},
		{"::", "2001:db8::9"},
	} {
		onFakes(t, func(t *bench) {
			first, second := ask(one, alice, 1), ask(one, bob, 2)
			first.Local, second.Local = netip.MustParseAddr(tt.first), netip.MustParseAddr(tt.second)
			l := t.must(first)
			if _, err := t.try(second); !errors.Is(err, ErrFull) {
				t.Errorf("%s beside %s: %v", tt.second, tt.first, err)
			}
			w := t.wait(second, 10*time.Second)
			t.pass(busyTime)
			if w.over() {
				t.Errorf("%s beside %s: %s", tt.second, tt.first, w.result())
			}
			l.Close()
			t.want(w, "lent at 1s")
			w.lease.Close()
			t.pass(quarantineTime)
			if n := t.events.get("busy"); n != 0 {
				t.Errorf("%d ports are said to be another program's", n)
			}
		})
	}
	onFakes(t, func(t *bench) { // Other families and other addresses are others' affair.
		for i, local := range []string{"10.0.0.9", "10.0.0.10", "::", "127.0.0.1"} {
			r := ask(one, alice, uint64(i))
			r.Local = netip.MustParseAddr(local)
			defer t.must(r).Close()
		}
	})
}

// One of two that are in the way ends: the other still is, and nothing spins.
func TestTwoInTheWay(t *testing.T) {
	for _, tt := range []struct{ second, first string }{
		{"10.0.0.10", "10.0.0.9"},
		{"2001:db8::9", "10.0.0.9"}, // which is in nobody's way
	} {
		onFakes(t, func(t *bench) {
			a, b, all := ask(one, alice, 1), ask(one, alice, 2), ask(one, bob, 3)
			a.Local, b.Local, all.Local = netip.MustParseAddr(tt.first), netip.MustParseAddr(tt.second), netip.MustParseAddr("0.0.0.0")
			la, lb := t.must(a), t.must(b)
			w := t.wait(all, 10*time.Second)
			lb.Close()
			if w.over() {
				t.Errorf("%s: %s", tt.second, w.result())
			}
			la.Close()
			t.want(w, "lent at 0s")
			w.lease.Close()
			t.pass(quarantineTime)
		})
	}
}
