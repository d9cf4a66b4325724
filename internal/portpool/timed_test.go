package portpool

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

const second = time.Second

var one = Range{30000, 30000}

func TestUsedLeaseIsFreeAtOnce(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.use(t.must(ask(one, alice, 1)))
		t.use(t.must(ask(one, alice, 2)))
		t.mustRest()
	})
}

// A connection that came but was not taken was a use, too.
func TestUntakenLeaseIsFreeAtOnce(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		c := t.mustDial(alice, l)
		t.must(ask(one, alice, 2)).Close()
		if l.Close(); c.closes() != 1 {
			t.Errorf("the connection that nobody took was closed %d times; want once", c.closes())
		}
		l.Close()
		if _, err := l.Accept(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("Accept after Close: %v; want ErrClosed", err)
		}
		t.mustRest()
	})
}

// H53: a late SYN must not land in another session.
func TestUnusedLeaseIsQuarantined(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.must(ask(one, alice, 1)).Close()
		t.mustFull(ask(one, alice, 2))
		t.must(ask(one, bob, 3)).Close() // Another peer is not concerned,
		t.must(ask(one, alice, 1)).Close()
		t.pass(2*second - 1)
		t.mustFull(ask(one, alice, 2)) // nor is time that the owner had it again counted.
		t.pass(1)
		t.must(ask(one, alice, 2)).Close()
		t.mustRest()
	})
}

func TestNobodyLiftsNobodysQuarantine(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.must(ask(one, alice, 0)).Close()
		t.mustFull(ask(one, alice, 0))
	})
}

// With one port only the end of the quarantine can wake the one who waits.
func TestWaiterIsWokenWhenTheQuarantineEnds(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.must(ask(one, alice, 1)).Close()
		t.mustRest() // A quarantine needs no timer while nobody waits.
		t.pass(second / 2)
		t.want(t.wait(ask(one, alice, 2), 5*second), "lent at 2s")
	})
}

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
		t.pass(time.Minute) // Nobody waits any more, so the lease does not expire.
		t.use(l)
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

// An unused lease gives way after 3 s, and its port is in quarantine for 2 s.
// A wait of port_wait = 5 s that began with the lease is just in time.
func TestUnusedLeaseExpiresWhileSomebodyWaits(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		w := t.wait(ask(one, alice, 2), 5*second)
		_, err := l.Accept(context.Background())
		if !errors.Is(err, ErrExpired) || t.at() != 3*second {
			t.Errorf("Accept: %v at %v; want ErrExpired at 3s", err, t.at())
		}
		if c := t.net.dial(alice.Addr(), l.Addr()); c != nil {
			t.Error("the port listens in quarantine")
		}
		l.Close()
		t.mustFull(ask(one, alice, 1)) // It was taken from this owner for another.
		t.want(w, "lent at 5s")
		t.use(w.lease)
		t.mustRest()
	})
}

// A port that is free at the very deadline is in time, whichever timer is first.
func TestPortIsFreeAtTheDeadline(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.must(ask(one, alice, 1)).Close()
		w := t.wait(ask(one, alice, 2), quarantineTime)
		t.pool.mu.Lock()
		t.pool.disarm() // The deadline is first.
		t.pool.mu.Unlock()
		t.want(w, "lent at 2s")
	})
}

func TestOldLeaseExpiresWhenSomebodyComes(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		t.pass(time.Minute)
		t.must(ask(one, bob, 2))
		if l.state != pending {
			t.Fatal("expired for another peer")
		}
		w := t.wait(ask(one, alice, 3), 5*second)
		if _, err := l.Accept(context.Background()); !errors.Is(err, ErrExpired) || t.at() != time.Minute {
			t.Errorf("Accept: %v at %v; want ErrExpired at once", err, t.at())
		}
		t.want(w, "lent at 1m2s")
	})
}

// Each who waits costs one lease, the oldest, and none where a port is on its way.
func TestNoMoreLeasesExpireThanNeeded(t *testing.T) {
	onFakes(t, func(t *bench) {
		ports := Range{30000, 30003}
		var leases []*Lease
		for i := range 4 {
			leases = append(leases, t.must(ask(ports, alice, uint64(1+i))))
			t.pass(time.Millisecond)
		}
		t.pass(10 * second)
		leases[3].Close() // in quarantine until 12 s
		start := t.at()
		first := t.wait(ask(ports, alice, 10), 5*second)
		if n := t.events.get("expired"); n != 0 {
			t.Errorf("%d expired, although a port is on its way", n)
		}
		second := t.wait(ask(ports, alice, 11), 5*second)
		if n := t.events.get("expired"); n != 1 || leases[0].state != ended {
			t.Errorf("%d expired; want only the oldest", n)
		}
		first.result()
		second.result()
		if first.after != start+quarantineTime || second.after != start+quarantineTime || first.err != nil || second.err != nil {
			t.Errorf("waits: %s, %s; want both lent after the quarantine", first.result(), second.result())
		}
		t.pass(time.Minute)
		if n := t.events.get("expired"); n != 1 {
			t.Errorf("%d expired; want 1", n)
		}
	})
}

// A session that asks again and again and never connects has its own port back
// each time, but not for ever while another waits.
func TestTakingBackDoesNotStarve(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		w := t.wait(ask(one, alice, 2), 10*second)
		for t.at() < 2900*time.Millisecond {
			t.pass(100 * time.Millisecond)
			l.Close()
			l = t.must(ask(one, alice, 1))
		}
		t.pass(200 * time.Millisecond)
		if _, err := l.Accept(context.Background()); !errors.Is(err, ErrExpired) {
			t.Errorf("Accept: %v; want ErrExpired", err)
		}
		t.want(w, "lent at 5s")
	})
}

// The same when the last lease ends by itself just after its 3 s.
func TestOldChainIsNotTakenBack(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		t.pass(4 * second)
		l.Close()
		w := t.wait(ask(one, alice, 2), 10*second)
		t.mustFull(ask(one, alice, 1))
		t.want(w, "lent at 6s")
	})
}

// A session cannot use up the ports of its neighbours by asking only.
func TestOwnerHasFewQuarantines(t *testing.T) {
	onFakes(t, func(t *bench) {
		ports := Range{30000, 30009}
		for range 100 {
			t.must(ask(ports, alice, 1)).Close()
		}
		for i := range 10 - maxOwnQuarantines {
			t.must(ask(ports, alice, uint64(2+i)))
		}
		t.mustFull(ask(ports, alice, 99))
		t.must(ask(ports, alice, 1)) // It has its own back when there is nothing else.
	})
}

func TestHoldKeepsTheKeyUntilClose(t *testing.T) {
	onFakes(t, func(t *bench) {
		hold := func(owner uint64) Request {
			r := ask(one, alice, owner)
			r.Hold = true
			return r
		}
		l := t.must(hold(1))
		t.use(l)
		if open := t.net.listening(); len(open) > 0 {
			t.Errorf("ports %v listen for a held lease", open)
		}
		t.must(ask(one, bob, 2)).Close() // Another peer may have the port.
		t.mustFull(hold(3))
		if u := t.pool.Snapshot(); len(u) != 1 || u[0].Held != 1 || u[0].Pending != 0 {
			t.Errorf("snapshot %v; want one held", u)
		}
		w := t.wait(hold(3), time.Hour)
		t.pass(time.Minute)
		if w.over() {
			t.Fatal("a held key was lent")
		}
		l.Close()
		l.Close()
		t.want(w, "lent at 1m0s")
		w.lease.Close()
		t.mustRest()
	})
}

func TestHoldTakesTheLeastRecentlyUsedPort(t *testing.T) {
	onFakes(t, func(t *bench) {
		r := ask(Range{31000, 31002}, alice, 1)
		r.Hold = true
		take := func(want uint16) *Lease {
			t.Helper()
			l := t.must(r)
			if l.Addr().Port() != want {
				t.Errorf("port %d; want %d", l.Addr().Port(), want)
			}
			t.use(l)
			return l
		}
		long := take(31000)
		take(31001).Close()
		take(31002).Close()
		take(31001).Close()
		long.Close()
		take(31002).Close() // 31000 was in use until just now.
		take(31001).Close()
		other := r
		other.Peer = bob
		for range 5 { // What another server did does not count.
			l := t.must(other)
			t.use(l)
			l.Close()
		}
		take(31000).Close()
		for i, from := range []string{"203.0.113.7/24", "203.0.113.8/24", "203.0.113.9/24"} {
			r.Peer = netip.MustParsePrefix(from) // one and the same prefix
			take(31000 + uint16(i)).Close()
		}
	})
}
