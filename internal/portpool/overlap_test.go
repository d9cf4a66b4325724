package portpool

import (
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
			l := t.promised(first)
			t.mustFull(second)
			w := t.wait(second, 10*time.Second)
			t.pass(busyTime)
			if w.over() {
				t.Errorf("%s beside %s: %s", tt.second, tt.first, w.result())
			}
			l.told() // Its key cools, but nobody listens any more.
			t.want(w, "lent at 1s")
			w.lease.Close()
			if n := t.events.get("busy"); n != 0 {
				t.Errorf("%d ports are said to be another program's", n)
			}
			t.pass(Long)
			t.mustRest()
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

// A wildcard and an address in it are one key, whichever was first and however it ended.
func TestKeySurvivesAReload(t *testing.T) {
	for _, tt := range []struct{ first, second string }{
		{"10.0.0.9", "0.0.0.0"},
		{"0.0.0.0", "10.0.0.9"},
		{"2001:db8::9", "::"},
		{"::", "2001:db8::9"},
	} {
		for name, end := range map[string]func(*Lease){
			"moved on": (*Lease).movedOn,
			"told":     (*Lease).told,
			"withheld": (*Lease).fallSilent,
		} {
			t.Run(name+" "+tt.first, func(t *testing.T) {
				onFakes(t, func(t *bench) {
					first, second := ask(one, alice, 1), ask(one, alice, 1)
					first.Local, second.Local = netip.MustParseAddr(tt.first), netip.MustParseAddr(tt.second)
					l := t.promised(first)
					t.mustFull(second)
					end(l)
					t.mustFull(second)
					t.mustFull(first) // back again
					if name == "withheld" {
						t.pass(time.Hour)
						t.mustFull(second)
						t.mustFull(first)
						l.movedOn()
					}
					w := t.wait(second, time.Minute)
					<-w.done
					if w.err != nil {
						t.Fatal(w.err)
					}
					t.mustFull(first)
					w.lease.Close()
					t.must(first).Close()
				})
			})
		}
	}
}

// A connection that comes at the wildcard for a key of one of its addresses is late.
func TestLateConnectionAfterAReload(t *testing.T) {
	onFakes(t, func(t *bench) {
		all := ask(one, bob, 2)
		all.Local = netip.IPv4Unspecified()
		l := t.promised(ask(one, alice, 1))
		l.fallSilent()
		open := t.must(all)
		t.pass(time.Hour)
		c := t.arriveAt(open, alice, netip.AddrPortFrom(local, 30000))
		if c.closes() != 1 || t.events.get("late") != 1 {
			t.Errorf("closed %d times, %d late; want one", c.closes(), t.events.get("late"))
		}
		open.Close()
		t.mustFreeAt(ask(one, alice, 3), time.Hour+Long)
	})
}

// arriveAt puts a connection into the queue of a wildcard.
func (t *bench) arriveAt(l *Lease, from netip.Prefix, at netip.AddrPort) *fakeConn {
	t.Helper()
	c := newConn(from.Addr(), at, 1024, time.Now())
	t.net.listener(l.Addr()).conns <- c
	t.pass(0)
	return c
}

// The key of the wildcard becomes the keys of several addresses.
func TestAWildcardMakesRoomForTwo(t *testing.T) {
	onFakes(t, func(t *bench) {
		here, there, all := ask(one, alice, 1), ask(one, alice, 2), ask(one, alice, 3)
		there.Local, all.Local = netip.MustParseAddr("192.0.2.2"), netip.IPv4Unspecified()
		l := t.promised(all)
		first, second := t.wait(here, time.Minute), t.wait(there, time.Minute)
		l.movedOn()
		t.want(first, "lent at 4s")
		t.want(second, "lent at 4s")
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
			t.mustRest()
		})
	}
}
