package portpool

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

const second = time.Second

var (
	one     = Range{30000, 30000}
	foreign = netip.MustParsePrefix("203.0.113.0/24")
)

// states counts the leases of a pool by the state of their keys.
func (t *bench) states() (s [free + 1]int) {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	t.pool.eachLease(func(l *Lease) { s[l.key]++ })
	return s
}

func (t *bench) mustState(l *Lease, want keyState) {
	t.Helper()
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if l.key != want {
		t.Errorf("%v: the key is %d; want %d", t.at(), l.key, want)
	}
}

// reserved: given up before the promise, a key is free.
func TestReservedKeyIsFreeWhenGivenUp(t *testing.T) {
	for name, giveUp := range map[string]func(*Lease){
		"Close": func(l *Lease) { l.Close() }, "Told": (*Lease).told, "MovedOn": (*Lease).movedOn, "Silent": (*Lease).fallSilent,
	} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				l := t.must(ask(one, alice, 1))
				t.mustState(l, reserved)
				t.mustFull(ask(one, alice, 2))
				t.must(ask(one, bob, 3)).Close() // Another peer is not concerned.
				if l.isUnmet() {
					t.Error("a key that was not promised is unmet")
				}
				giveUp(l)
				t.mustState(l, free)
				t.mustRest()
				l.promise() // too late to count
				t.mustState(l, free)
				t.must(ask(one, alice, 2)).Close()
				t.mustRest()
			})
		})
	}
}

// Nobody can have opened a connection for an address that was not told yet.
func TestReservedKeyTakesNoConnection(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		if c := t.mustDial(alice, l); c.closes() != 1 || !c.linger || !l.pending() {
			t.Error("a connection came before the promise and was not reset")
		}
		t.pass(second)
		t.use(l)
		if n := t.events.get("stranger"); n != 1 {
			t.Errorf("%d strangers; want 1", n)
		}
		t.mustRest()
	})
}

// promised: the first connection is the lease's, and frees the key at once.
func TestMetKeyIsFreeAtOnce(t *testing.T) {
	onFakes(t, func(t *bench) {
		for owner := range uint64(3) {
			l := t.promised(ask(one, alice, owner))
			t.mustState(l, promised)
			if !l.isUnmet() {
				t.Error("a promise is met before a connection came")
			}
			t.use(l)
			t.mustState(l, free)
			if l.isUnmet() {
				t.Error("a promise is unmet after its connection came")
			}
			l.told() // says nothing of a promise that was met
			l.movedOn()
			t.mustRest()
		}
	})
}

// A connection that came but was not taken met the promise, too.
func TestUntakenConnection(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(ask(one, alice, 1))
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

// cooling, and withheld when nothing is said: how long a key keeps others away after
// a promise that nobody met. until 0: for ever.
func TestUnmetKey(t *testing.T) {
	type act struct {
		at time.Duration
		do func(*Lease)
	}
	toldAt := func(at time.Duration) act { return act{at, (*Lease).told} }
	movedAt := func(at time.Duration) act { return act{at, (*Lease).movedOn} }
	closedAt := func(at time.Duration) act { return act{at, func(l *Lease) { l.Close() }} }
	silentAt := func(at time.Duration) act { return act{at, (*Lease).fallSilent} }
	for _, tt := range []struct {
		name   string
		others bool
		acts   []act
		until  time.Duration
	}{
		{"moved on", false, []act{movedAt(1 * second)}, 5 * second},
		{"told", false, []act{toldAt(1 * second)}, 33 * second},
		{"closed", false, []act{closedAt(1 * second)}, 0},
		{"silent", false, []act{silentAt(30 * second)}, 0},
		{"closed, then told", false, []act{closedAt(1 * second), toldAt(100 * second)}, 132 * second},
		{"closed, then moved on", false, []act{closedAt(1 * second), movedAt(100 * second)}, 104 * second},
		{"silent, then moved on", false, []act{silentAt(30 * second), movedAt(3600 * second)}, 3604 * second},
		{"silent, then told", false, []act{silentAt(30 * second), toldAt(3600 * second)}, 3632 * second},
		{"moving on shortens", false, []act{toldAt(0), movedAt(10 * second)}, 14 * second},
		{"moving on never prolongs", false, []act{toldAt(0), movedAt(30 * second)}, 32 * second},
		{"nor does being told", false, []act{movedAt(0), toldAt(2 * second)}, 4 * second},
		{"nor does doing it again", false, []act{movedAt(0), movedAt(3 * second)}, 4 * second},
		{"told twice", false, []act{toldAt(0), toldAt(20 * second)}, 32 * second},
		{"told and silent", false, []act{toldAt(0), silentAt(20 * second)}, 32 * second},
		// What foreign networks do is not known from what the peer does.
		{"foreign networks, moved on", true, []act{movedAt(1 * second)}, 33 * second},
		{"foreign networks, told", true, []act{toldAt(1 * second)}, 33 * second},
		{"foreign networks, told and moved on", true, []act{toldAt(0), movedAt(2 * second)}, 32 * second},
		{"foreign networks, closed", true, []act{closedAt(1 * second)}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				r := ask(one, alice, 1)
				if tt.others {
					r.Others = []netip.Prefix{foreign}
				}
				l := t.promised(r)
				for _, a := range tt.acts {
					t.pass(a.at - t.at())
					a.do(l)
					if open := t.net.listening(); len(open) > 0 {
						t.Errorf("ports %v listen for a lease that is over", open)
					}
				}
				rivals := []netip.Prefix{alice}
				if tt.others {
					rivals = append(rivals, netip.MustParsePrefix("203.0.113.77/32"))
				}
				if tt.until == 0 {
					t.pass(24 * time.Hour)
					t.mustState(l, withheld)
					for _, rival := range rivals {
						t.mustFull(ask(one, rival, 2))
					}
					l.told()
					tt.until = t.at() + Long
				}
				t.mustState(l, cooling)
				t.must(ask(one, bob, 3)).Close()
				t.pass(tt.until - 1 - t.at())
				for _, rival := range rivals {
					t.mustFull(ask(one, rival, 2))
					// The owner's next lease has no privilege.
					t.mustFull(ask(one, rival, 1))
				}
				t.pass(1)
				t.mustState(l, free)
				t.mustRest()
				for _, rival := range rivals {
					t.must(ask(one, rival, 2)).Close()
				}
				t.mustRest()
			})
		})
	}
}

// The promise counts from its first call.
func TestPromiseCountsOnce(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		t.pass(second)
		l.promise()
		born := time.Now()
		t.pass(second)
		l.promise()
		t.arrive(l, alice, born)
		t.mustState(l, free)
	})
}

// arrive puts a connection into the queue whose first SYN came at born.
func (t *bench) arrive(l *Lease, from netip.Prefix, born time.Time) *fakeConn {
	t.Helper()
	ln := t.net.listener(l.Addr())
	if ln == nil {
		t.Fatalf("%v: %v does not listen", t.at(), l.Addr())
	}
	c := newConn(from.Addr(), l.Addr(), 1024+len(t.net.conns), born)
	t.net.conns = append(t.net.conns, c)
	ln.conns <- c
	t.pass(0)
	return c
}

// A connection is as old as its SYN; one older than a promise is never its lease's.
func TestOldConnection(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(ask(one, alice, 1))
		start := time.Now()
		t.pass(10 * second)
		if c := t.arrive(l, alice, start.Add(-slack-1)); c.closes() != 1 || !l.pending() {
			t.Error("a connection older than the promise was kept")
		}
		if n := t.events.get("stranger"); n != 1 {
			t.Errorf("%d strangers; want 1", n)
		}
		if c := t.arrive(l, alice, start.Add(-slack)); c.closes() != 0 || l.pending() {
			t.Error("the kernel's clock is not so exact")
		}
	})
}

// The same after Prove, which may take long.
func TestOldConnectionThatIsProven(t *testing.T) {
	onFakes(t, func(t *bench) {
		owners := make(chan uint64)
		first := t.promised(proving(one, alice, 1, owners))
		other := t.promised(proving(one, alice, 2, owners)) // keeps the port open
		c := t.arrive(other, alice, time.Now())
		first.movedOn()
		t.pass(Short)
		again := t.promised(proving(one, alice, 1, owners))
		owners <- 1
		t.pass(0)
		if c.closes() != 1 || !again.pending() {
			t.Error("the connection for a lease was given to the owner's next one")
		}
	})
}

// late: what comes for a key that cools or is withheld is reset. That tells the peer
// that nobody waits; if the peer had moved on, nothing is missing any more.
func TestLateConnection(t *testing.T) {
	for _, tt := range []struct {
		name   string
		others bool
		end    func(*Lease)
		from   netip.Prefix
		at     time.Duration // when it comes
		until  time.Duration
	}{
		{"told", false, (*Lease).told, alice, 10 * second, 32 * second},
		{"told, at the end", false, (*Lease).told, alice, 31 * second, 35 * second},
		{"closed", false, func(l *Lease) { l.Close() }, alice, 3600 * second, 3632 * second},
		{"silent", false, (*Lease).fallSilent, alice, 3600 * second, 3632 * second},
		{"moved on", false, (*Lease).movedOn, alice, 3 * second, 3 * second},
		// The partner may try again, whatever the peer does.
		{"foreign networks, moved on", true, (*Lease).movedOn, netip.MustParsePrefix("203.0.113.7/32"), 3 * second, 32 * second},
		{"foreign networks, moved on, from the peer", true, (*Lease).movedOn, alice, 3 * second, 32 * second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				r := ask(one, alice, 1)
				if tt.others {
					r.Others = []netip.Prefix{foreign}
				}
				l := t.promised(r)
				open := t.must(ask(one, bob, 9)) // The port listens for another.
				tt.end(l)
				t.pass(tt.at)
				t.mustLate(tt.from, open)
				if tt.until == tt.at {
					t.mustState(l, free)
				} else {
					t.mustFreeAt(ask(one, alice, 2), tt.until)
				}
				open.Close()
				t.pass(tt.until - t.at())
				t.mustRest()
			})
		})
	}
}

// A peer whose retries fail tries again, for as long as one that was told.
func TestRetries(t *testing.T) {
	for name, tt := range map[string]struct {
		end   func(*Lease)
		until time.Duration
	}{"told": {(*Lease).told, 32 * second}, "silent": {(*Lease).fallSilent, 35 * second}} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				l := t.promised(ask(one, alice, 1))
				open := t.must(ask(one, bob, 9))
				tt.end(l)
				for range 4 {
					t.pass(3 * second)
					t.mustLate(alice, open)
				}
				t.mustFreeAt(ask(one, alice, 2), tt.until)
			})
		})
	}
}

// The peer may move on after a reset, too.
func TestMovingOnAfterAReset(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(ask(one, alice, 1))
		open := t.must(ask(one, bob, 9))
		l.Close()
		t.pass(second)
		t.mustLate(alice, open)
		t.pass(3 * second)
		l.movedOn()
		t.mustFreeAt(ask(one, alice, 2), 8*second)
	})
}

// A connection that is older than a promise was not the missing one of it.
func TestOldConnectionIsNobodysMissingOne(t *testing.T) {
	onFakes(t, func(t *bench) {
		old := time.Now()
		t.pass(10 * second)
		l := t.promised(ask(one, alice, 1))
		open := t.must(ask(one, bob, 9))
		l.movedOn()
		c := t.arrive(open, alice, old)
		if c.closes() != 1 || t.events.get("stranger") != 1 {
			t.Errorf("closed %d times, %d strangers; want one reset", c.closes(), t.events.get("stranger"))
		}
		t.mustFreeAt(ask(one, alice, 2), 14*second)
	})
}

// What lies in the queue of a listener is accepted before it closes ...
func TestQueueIsAcceptedBeforeTheListenerCloses(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(ask(one, alice, 1))
		t.net.listener(l.Addr()).deafen(t)
		c := t.arrive(l, alice, time.Now())
		t.pass(second)
		l.told()
		if c.closes() != 1 || t.events.get("late") != 1 {
			t.Errorf("closed %d times, %d late; want one that was missing", c.closes(), t.events.get("late"))
		}
		t.mustFreeAt(ask(one, alice, 2), 33*second)
	})
}

// ... and before a key is lent on it: what lies there was opened for another lease.
func TestQueueIsAcceptedBeforeAKeyIsLent(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.pool.Born = func(net.Conn) time.Time { return time.Now() } // Its age does not tell.
		l, open := t.promised(ask(one, alice, 1)), t.promised(ask(one, bob, 2))
		t.net.listener(l.Addr()).deafen(t)
		l.movedOn()
		t.pass(Short - 1)
		old, mine := t.arrive(open, alice, time.Now()), t.arrive(open, bob, time.Now())
		t.pass(1)
		next := t.promised(ask(one, alice, 3))
		if old.closes() != 1 || t.events.get("stranger") != 1 || !next.pending() {
			t.Errorf("closed %d times, %d strangers; want one reset", old.closes(), t.events.get("stranger"))
		}
		if got, err := open.Accept(context.Background()); got != net.Conn(mine) || err != nil {
			t.Errorf("Accept = %v, %v; want the connection that lay in the queue", got, err)
		}
	})
}

// held: with Hold a key is kept until the lease is closed.
func TestHoldKeepsTheKeyUntilClose(t *testing.T) {
	onFakes(t, func(t *bench) {
		hold := func(owner uint64) Request {
			r := ask(one, alice, owner)
			r.Hold = true
			return r
		}
		l := t.must(hold(1))
		t.use(l)
		t.mustState(l, held)
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
		w.lease.promise()
		w.lease.told() // A promise that no connection met cools as any other.
		t.mustFreeAt(hold(4), time.Minute+Long)
		t.mustRest()
	})
}

func TestSnapshot(t *testing.T) {
	onFakes(t, func(t *bench) {
		ports := Range{30000, 30005}
		r := ask(ports, alice, 1)
		t.must(r)
		t.promised(r)
		r.Hold = true
		t.use(t.must(r))
		t.promised(r).told()
		t.promised(r).movedOn()
		t.promised(r).Close()
		w := t.wait(r, second)
		want := Usage{Local: local, Ports: ports, Pending: 2, Held: 1, Cooling: 2, Withheld: 1, Waiting: 1}
		if u := t.pool.Snapshot(); len(u) != 1 || u[0] != want {
			t.Errorf("snapshot %+v; want %+v", u, want)
		}
		<-w.done
		if s := t.states(); s != [free + 1]int{reserved: 1, promised: 1, held: 1, cooling: 2, withheld: 1} {
			t.Errorf("states %v", s)
		}
	})
}
