package portpool

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitEndsWithItsContext(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		short := t.wait(ask(one, alice, 2), second)
		gone := t.wait(ask(one, alice, 3), 5*second)
		t.want(short, "full at 1s")
		if !errors.Is(short.err, context.DeadlineExceeded) {
			t.Errorf("%v does not wrap the deadline", short.err)
		}
		gone.cancel()
		t.want(gone, "full at 1s")
		if !errors.Is(gone.err, context.Canceled) {
			t.Errorf("%v does not wrap the cancellation", gone.err)
		}
		if n := t.events.get("full"); n != 2 {
			t.Errorf("%d full; want 2", n)
		}
		t.pass(time.Minute)
		t.use(l) // Nobody takes a lease back.
		t.mustRest()
	})
}

func TestWaitIsFirstComeFirstServed(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		waits := make([]*wait, 4)
		for i := range waits {
			waits[i] = t.wait(ask(one, alice, uint64(2+i)), time.Minute)
			t.pass(time.Millisecond)
		}
		waits[1].cancel()
		<-waits[1].done
		for _, i := range []int{0, 2, 3} {
			t.use(l)
			synctest.Wait()
			for j, w := range waits {
				if done := j <= i || j == 1; w.over() != done {
					t.Fatalf("turn %d: wait %d over %v; want %v", i, j, w.over(), done)
				}
			}
			l = waits[i].lease
		}
	})
}

// One who asks when a key has just become free does not overtake those who wait.
func TestNobodyOvertakes(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.promised(ask(one, alice, 1)).movedOn()
		w := t.wait(ask(one, alice, 2), 5*second)
		t.pool.mu.Lock()
		t.pool.disarm() // The key is free before the timer says so.
		t.pool.mu.Unlock()
		t.pass(Short)
		t.mustFull(ask(one, alice, 3))
		t.want(w, "lent at 4s")
	})
}

// Nor does one whose request drains the queue in which the connection lay that frees it.
func TestNobodyOvertakesByDraining(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(ask(one, alice, 1))
		w := t.wait(ask(one, alice, 2), 5*second)
		t.net.listener(l.Addr()).deafen(t)
		t.arrive(l, alice, time.Now())
		t.net.setFail(syscall.EADDRINUSE, 30001)
		t.mustFull(ask(Range{30000, 30001}, alice, 3))
		t.want(w, "lent at 0s")
		if l.pending() {
			t.Error("the connection was not delivered")
		}
	})
}

func TestWaiterDoesNotBlockAnotherPeer(t *testing.T) {
	onFakes(t, func(t *bench) {
		a, b := t.must(ask(one, alice, 1)), t.must(ask(one, bob, 2))
		first, second := t.wait(ask(one, alice, 3), time.Minute), t.wait(ask(one, bob, 4), time.Minute)
		t.use(b)
		t.want(second, "lent at 0s")
		if first.over() {
			t.Fatal("the port was lent twice to one peer")
		}
		t.use(a)
		t.want(first, "lent at 0s")
	})
}

// With one port only the end of the cooling can wake the one who waits.
func TestWaiterIsWokenWhenAKeyHasCooled(t *testing.T) {
	for _, tt := range []struct {
		end  func(*Lease)
		want string
	}{
		{(*Lease).movedOn, "lent at 4s"},
		{(*Lease).told, "lent at 32s"},
		{func(l *Lease) { l.Close() }, "full at 1m0s"},
	} {
		onFakes(t, func(t *bench) {
			tt.end(t.promised(ask(one, alice, 1)))
			t.want(t.wait(ask(one, alice, 2), time.Minute), tt.want)
		})
	}
}

// A key that is free at the very deadline is in time, whichever timer is first.
func TestKeyIsFreeAtTheDeadline(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.promised(ask(one, alice, 1)).movedOn()
		w := t.wait(ask(one, alice, 2), Short)
		t.pool.mu.Lock()
		t.pool.disarm() // The deadline is first.
		t.pool.mu.Unlock()
		t.want(w, "lent at 4s")
	})
}

// The 257th who waits for one peer is sent away at once, and those of others are not.
func TestMostWaiters(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		t.must(ask(one, bob, 1))
		var waits []*wait
		for range maxWaiters {
			waits = append(waits, t.wait(ask(one, alice, 2), time.Minute))
		}
		t.pass(second)
		t.want(t.wait(ask(one, alice, 3), time.Minute), "full at 1s")
		if n := t.events.get("full"); n != 1 {
			t.Errorf("%d full; want 1", n)
		}
		other := t.wait(ask(one, bob, 4), second)
		t.want(other, "full at 2s")
		for _, w := range waits {
			t.use(l)
			t.want(w, "lent at 2s")
			l = w.lease
		}
		l.Close()
	})
}

// One who waits for several networks is served as soon as all of them are free.
func TestWaiterForForeignNetworks(t *testing.T) {
	onFakes(t, func(t *bench) {
		partner := netip.MustParsePrefix("203.0.113.7/32")
		l := t.must(ask(one, partner, 1))
		r := ask(one, alice, 2)
		r.Others = []netip.Prefix{foreign}
		w := t.wait(r, time.Minute)
		t.pass(second)
		t.use(l)
		t.want(w, "lent at 1s")
		w.lease.Close()
		t.mustRest()
	})
}

// silent is a lease that its owner found silent, and who is asked to leave.
func (t *bench) silent(r Request, asked *[]uint64) *Lease {
	t.Helper()
	r.Evict = func() { *asked = append(*asked, r.Owner) }
	l := t.promised(r)
	l.fallSilent()
	return l
}

// The one who has been silent longest is asked to leave, and only as many as those
// who wait need.
func TestLongestSilentIsAskedToLeave(t *testing.T) {
	onFakes(t, func(t *bench) {
		ports := Range{30000, 30003}
		var asked []uint64
		var leases []*Lease
		for owner := range uint64(4) {
			leases = append(leases, t.silent(ask(ports, alice, owner), &asked))
			t.pass(second)
		}
		t.wantAsked(&asked)
		first := t.wait(ask(ports, alice, 10), time.Minute)
		t.wantAsked(&asked, 0)
		other := t.wait(ask(ports, bob, 11), time.Minute)
		t.want(other, "lent at 4s")
		t.wantAsked(&asked, 0)
		second := t.wait(ask(ports, alice, 12), time.Minute)
		t.wantAsked(&asked, 0, 1)
		leases[0].told()
		t.wantAsked(&asked, 0, 1)
		leases[0].movedOn()
		t.want(first, "lent at 8s")
		leases[1].movedOn()
		t.want(second, "lent at 12s")
		t.wantAsked(&asked, 0, 1)
		if n := t.events.get("evicted"); n != 2 {
			t.Errorf("%d evicted; want 2", n)
		}
	})
}

func (t *bench) wantAsked(asked *[]uint64, want ...uint64) {
	t.Helper()
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if !slices.Equal(*asked, want) {
		t.Errorf("%v: %v were asked to leave; want %v", t.at(), *asked, want)
	}
}

// Nobody has to leave while another key is free soon.
func TestNobodyLeavesWhileAKeyIsFreeSoon(t *testing.T) {
	onFakes(t, func(t *bench) {
		ports := Range{30000, 30001}
		var asked []uint64
		t.silent(ask(ports, alice, 1), &asked)
		t.promised(ask(ports, alice, 2)).movedOn()
		first := t.wait(ask(ports, alice, 10), time.Minute)
		t.wantAsked(&asked)
		t.wait(ask(ports, alice, 11), time.Minute) // One key is not enough for two.
		t.wantAsked(&asked, 1)
		t.want(first, "lent at 4s")
	})
}

// The one who becomes silent while another waits is asked then.
func TestSilentWhileAnotherWaits(t *testing.T) {
	onFakes(t, func(t *bench) {
		var asked []uint64
		r := ask(one, alice, 1)
		r.Evict = func() { asked = append(asked, 1) }
		l := t.promised(r)
		w := t.wait(ask(one, alice, 2), time.Minute)
		t.pass(10 * second)
		t.wantAsked(&asked)
		l.fallSilent()
		l.fallSilent()
		t.wantAsked(&asked, 1)
		l.told()
		l.movedOn()
		t.want(w, "lent at 14s")
	})
}

// A reload from one address to all of them, or a range that overlaps: the silent
// one is in the way all the same.
func TestSilentInAnotherConfiguration(t *testing.T) {
	wildcard := ask(one, alice, 2)
	wildcard.Local = netip.IPv4Unspecified()
	wider := ask(one, netip.MustParsePrefix("198.51.100.0/24"), 2)
	partner := ask(one, netip.MustParsePrefix("192.0.2.200/32"), 2)
	partner.Others = []netip.Prefix{alice}
	for name, r := range map[string]Request{
		"wildcard": wildcard, "range": ask(Range{30000, 30001}, alice, 2), "prefix": wider, "foreign networks": partner,
	} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				var asked []uint64
				l := t.silent(ask(one, alice, 1), &asked)
				if r.Ports.Len() > 1 {
					more := ask(Range{30001, 30001}, alice, 3)
					t.must(more)
				}
				w := t.wait(r, time.Minute)
				t.wantAsked(&asked, 1)
				l.movedOn()
				t.want(w, "lent at 4s")
				w.lease.Close()
			})
		})
	}
}

// A prefix may be in the way of several, and another's key become free meanwhile.
func TestSilentInTheWayOfAPrefix(t *testing.T) {
	onFakes(t, func(t *bench) {
		var asked []uint64
		l := t.silent(ask(one, alice, 1), &asked)
		soon := t.promised(ask(one, bob, 2))
		soon.movedOn()
		w := t.wait(ask(one, netip.MustParsePrefix("198.51.100.0/24"), 3), time.Minute)
		t.wantAsked(&asked)
		t.pass(Short)
		t.wantAsked(&asked, 1)
		l.movedOn()
		t.want(w, "lent at 8s")
	})
}

// Silence that is in nobody's way ends nothing.
func TestSilentInNobodysWay(t *testing.T) {
	onFakes(t, func(t *bench) {
		var asked []uint64
		t.silent(ask(Range{30001, 30001}, alice, 1), &asked)
		elsewhere := ask(one, alice, 2)
		elsewhere.Local = netip.MustParseAddr("192.0.2.2")
		t.silent(elsewhere, &asked)
		owners := make(chan uint64)
		two := Range{30002, 30002}
		r := proving(two, alice, 3, owners)
		t.silent(r, &asked)
		t.must(proving(two, alice, 4, owners))
		t.must(ask(one, alice, 5))
		t.wait(ask(one, alice, 6), second)
		t.wait(proving(two, alice, 4, owners), second)
		t.pass(2 * second)
		t.wantAsked(&asked)
	})
}

// A silent owner that cannot be asked, or was asked, is not asked.
func TestEvictIsAskedOnce(t *testing.T) {
	onFakes(t, func(t *bench) {
		ports := Range{30000, 30001}
		t.promised(ask(ports, alice, 1)).fallSilent()
		var asked []uint64
		t.silent(ask(ports, alice, 2), &asked)
		for owner := range uint64(5) {
			t.wait(ask(ports, alice, 10+owner), second)
		}
		t.wantAsked(&asked, 2)
		t.pass(2 * second)
		t.wait(ask(ports, alice, 20), second)
		t.wantAsked(&asked, 2)
		t.pass(2 * second)
	})
}
