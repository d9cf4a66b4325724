package portpool

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// named is a connection that was identified.
type named struct{ net.Conn }

func (n named) SetLinger(s int) error { return n.Conn.(*fakeConn).SetLinger(s) }

var proxy = netip.MustParsePrefix("10.1.1.1/32")

// headed is a request whose connections come through proxy and are those of the
// peers sent, in their order; an invalid one is an error.
func headed(ports Range, peer netip.Prefix, owner uint64, peers <-chan netip.Addr) Request {
	r := ask(ports, peer, owner)
	r.Through = []netip.Prefix{proxy}
	r.Header = func(conn net.Conn) (net.Conn, netip.Addr, error) {
		peer := <-peers
		if !peer.IsValid() {
			return nil, netip.Addr{}, errors.New("unknown")
		}
		return named{conn}, peer, nil
	}
	return r
}

// proving is a request whose connections name their owner, as sent; 0 is nobody, and
// errNotProven is sent as noProof.
func proving(ports Range, peer netip.Prefix, owner uint64, owners <-chan uint64) Request {
	r := ask(ports, peer, owner)
	r.Alike = "proving"
	r.Prove = func(conn net.Conn) (net.Conn, uint64, error) {
		owner := <-owners
		if owner == noProof {
			return nil, 0, errNotProven
		}
		return named{conn}, owner, nil
	}
	return r
}

const noProof = 1 << 63

var errNotProven = errors.New("not proven")

func (t *bench) mustAccept(l *Lease, want *fakeConn) {
	t.Helper()
	got, err := l.Accept(context.Background())
	if n, ok := got.(named); err != nil || !ok || n.Conn != net.Conn(want) {
		t.Fatalf("Accept = %v, %v; want %v, identified", got, err, want)
	}
	got.Close()
	l.Heard()
}

// Clients behind one proxy share a port: what identifies a connection decides.
func TestHeaders(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr)
		la, lb := t.promised(headed(one, alice, 1, peers)), t.promised(headed(one, bob, 2, peers))
		first, second := t.mustDial(proxy, la), t.mustDial(proxy, la)
		peers <- bob.Addr()
		peers <- netip.AddrFrom16(alice.Addr().As16()) // an IPv4 address as IPv6
		synctest.Wait()
		// Which goroutine was told which is chance.
		if lb.conn.(named).Conn == net.Conn(second) {
			first, second = second, first
		}
		t.mustAccept(lb, first)
		t.mustAccept(la, second)
		if n := t.events.get("stranger"); n != 0 {
			t.Errorf("%d strangers", n)
		}
		t.mustRest()
	})
}

// A connection that cannot be identified, is another's or comes too late costs
// nothing but itself, and a slow one delays no other.
func TestUnidentifiedConnections(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr)
		l := t.promised(headed(one, alice, 1, peers))
		all := []*fakeConn{t.mustDial(proxy, l), t.mustDial(proxy, l), t.mustDial(proxy, l)}
		closed := func() (n int) {
			for _, c := range all {
				n += c.closes()
			}
			return n
		}
		want := func(strangers, closes int) {
			t.Helper()
			synctest.Wait()
			if n := t.events.get("stranger"); n != strangers || closed() != closes {
				t.Errorf("%d strangers, %d closed; want %d and %d", n, closed(), strangers, closes)
			}
		}
		peers <- netip.Addr{}
		want(0, 1)
		peers <- bob.Addr()
		want(1, 2)
		t.pass(time.Second)
		l.movedOn() // One is still being identified: nobody waits for it any more.
		want(1, 3)
		peers <- alice.Addr()
		want(1, 3)
		t.pass(Short)
		t.mustRest()
	})
}

// One that is late is the missing one after its header, too.
func TestLateHeader(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr)
		l, open := t.promised(headed(one, alice, 1, peers)), t.promised(headed(one, bob, 2, peers))
		c := t.mustDial(proxy, open)
		l.told()
		t.pass(second)
		peers <- alice.Addr()
		synctest.Wait()
		if c.closes() != 1 || t.events.get("late") != 1 {
			t.Errorf("closed %d times, %d late; want one", c.closes(), t.events.get("late"))
		}
		t.mustFreeAt(headed(one, alice, 3, peers), Long)
	})
}

// Leases of a configuration without headers have theirs by the address, on the same
// port.
func TestHeadersBesideOthers(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr, 1)
		la, lb := t.promised(headed(one, alice, 1, peers)), t.promised(ask(one, bob, 2))
		t.use(lb)
		if c := t.mustDial(alice, la); c.closes() != 1 {
			t.Error("a connection without the header that its lease wants was kept")
		}
		peers <- alice.Addr()
		t.mustAccept(la, t.mustDial(proxy, la))
	})
}

// A connection from a proxy may be that of the proxy's own host: the two are one key.
func TestProxyThatIsAPeer(t *testing.T) {
	peers := make(chan netip.Addr)
	for name, both := range map[string][2]Request{
		"header first": {headed(one, alice, 1, peers), ask(one, proxy, 2)},
		"header last":  {ask(one, proxy, 2), headed(one, alice, 1, peers)},
	} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				l := t.promised(both[0])
				t.mustFull(both[1])
				w := t.wait(both[1], time.Minute)
				l.movedOn()
				t.want(w, "lent at 4s")
				w.lease.Close()
				t.must(both[0]).Close()
				t.must(ask(one, bob, 3)).Close()
				t.mustRest()
			})
		})
	}
}

// The end of a pool ends the wait for those that are being identified.
func TestPoolCloseWhileIdentifying(t *testing.T) {
	onFakes(t, func(t *bench) {
		r := ask(one, alice, 1)
		r.Through = []netip.Prefix{proxy}
		r.Header = untilClosed
		proven := ask(one, bob, 2)
		proven.Prove = func(conn net.Conn) (net.Conn, uint64, error) {
			conn, _, err := untilClosed(conn)
			return conn, 0, err
		}
		l := t.promised(r)
		m := t.promised(proven)
		c, d := t.mustDial(proxy, l), t.mustDial(bob, m)
		t.pool.Close()
		if c.closes() != 1 || d.closes() != 1 {
			t.Errorf("closed %d and %d times", c.closes(), d.closes())
		}
	})
}

// untilClosed never gets a header.
func untilClosed(conn net.Conn) (net.Conn, netip.Addr, error) {
	<-conn.(*fakeConn).gone
	return nil, netip.Addr{}, net.ErrClosed
}

// A lease is given only what came through those that it trusts itself, whatever
// others on the port do.
func TestLeasesTrustApart(t *testing.T) {
	onFakes(t, func(t *bench) {
		other := netip.MustParsePrefix("10.2.2.2/32")
		peers := make(chan netip.Addr, 1)
		b := headed(one, bob, 2, peers)
		b.Through = []netip.Prefix{other}
		la, lb := t.promised(headed(one, alice, 1, peers)), t.promised(b)
		peers <- bob.Addr()
		if c := t.mustDial(proxy, la); c.closes() != 1 || t.events.get("stranger") != 1 {
			t.Errorf("bob's through alice's proxy: %d closes, %d strangers", c.closes(), t.events.get("stranger"))
		}
		peers <- bob.Addr()
		t.mustAccept(lb, t.mustDial(other, lb))
		peers <- alice.Addr()
		t.mustAccept(la, t.mustDial(proxy, la))
	})
}

// Connections that name their owner are told apart on one port, though they all
// come from one address; those of nobody, or of an owner who waits for nothing,
// get nothing.
func TestConnectionsThatNameTheirOwner(t *testing.T) {
	onFakes(t, func(t *bench) {
		owners := make(chan uint64, 1)
		var leases []*Lease
		for owner := uint64(1); owner <= 3; owner++ {
			leases = append(leases, t.promised(proving(one, alice, owner, owners)))
		}
		t.mustFull(proving(one, alice, 2, owners)) // The same owner has no second.
		for _, thief := range []uint64{0, 4} {
			owners <- thief
			if c := t.mustDial(alice, leases[0]); c.closes() != 1 {
				t.Errorf("a connection of owner %d is closed %d times", thief, c.closes())
			}
		}
		for _, i := range []int{1, 2, 0} {
			owners <- uint64(i + 1)
			c := t.mustDial(alice, leases[0])
			t.mustAccept(leases[i], c)
		}
		if n := t.events.get("stranger"); n != 2 {
			t.Errorf("%d strangers, want 2", n)
		}
		t.mustRest()
	})
}

// The key of an owner cools for that owner alone, and what comes late is its own.
func TestKeyOfAnOwner(t *testing.T) {
	onFakes(t, func(t *bench) {
		owners := make(chan uint64, 1)
		l := t.promised(proving(one, alice, 1, owners))
		l.told()
		open := t.promised(proving(one, alice, 2, owners))
		t.mustFull(proving(one, alice, 1, owners))
		t.pass(second)
		owners <- 1
		t.mustLate(alice, open)
		t.mustFreeAt(proving(one, alice, 1, owners), Long)
		if open.isUnmet() != true {
			t.Error("the other's lease is gone")
		}
	})
}

// A lease by owner and one by address would both want the same connection.
func TestOwnersAndAddressesDoNotShare(t *testing.T) {
	onFakes(t, func(t *bench) {
		a, b := proving(one, alice, 1, nil), ask(one, alice, 2)
		l := t.promised(a)
		t.mustFull(b)
		l.movedOn()
		t.mustFull(b)
		t.pass(Short)
		l = t.promised(b)
		t.mustFull(a)
		l.movedOn()
		t.mustFull(a)
	})
}

// A connection that is refused is told of to the lease that it must have been for;
// where it may have been for several, to nobody.
func TestRefusedConnections(t *testing.T) {
	onFakes(t, func(t *bench) {
		told := make(map[uint64]int)
		owners := make(chan uint64, 1)
		request := func(owner uint64) Request {
			r := proving(one, alice, owner, owners)
			r.Refused = func(error) { told[owner]++ }
			return r
		}
		a := t.promised(request(1))
		owners <- noProof
		t.mustDial(alice, a)
		t.promised(request(2))
		owners <- noProof
		t.mustDial(alice, a)
		if told[1] != 1 || told[2] != 0 {
			t.Errorf("told %v, want the first alone, and once", told)
		}
	})
}

// Leases whose connections are identified in different ways never share a port while
// a connection may come for both.
func TestNotAlike(t *testing.T) {
	peers := make(chan netip.Addr, 1)
	headers := [2]Request{headed(one, alice, 1, peers), headed(one, bob, 2, peers)}
	headers[1].Alike = "TLS"
	proofs := [2]Request{proving(one, alice, 1, nil), proving(one, alice, 2, nil)}
	proofs[1].Alike = "other tickets"
	for name, r := range map[string][2]Request{"headers": headers, "proofs": proofs} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				l := t.promised(r[0])
				t.mustFull(r[1])
				t.must(ask(one, netip.MustParsePrefix("198.51.100.9/32"), 3)).Close()
				w := t.wait(r[1], time.Minute)
				t.pass(second)
				l.Close() // Its connection is not identified any more.
				t.want(w, "lent at 1s")
				w.lease.Close()
				l.movedOn()
				t.pass(Short)
				t.mustRest()
			})
		})
	}
}

// The wildcard listens at every address: what was missing at one of them is not what
// came at another.
func TestLateConnectionAtAnotherAddress(t *testing.T) {
	peers := make(chan netip.Addr, 1)
	for name, r := range map[string]Request{"alone": ask(one, alice, 1), "with a header": headed(one, alice, 1, peers)} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				here, there, all := r, r, r
				there.Local, all.Local, all.Peer = netip.MustParseAddr("192.0.2.2"), netip.IPv4Unspecified(), bob
				t.promised(here).movedOn()
				t.promised(there).movedOn()
				open := t.must(all)
				t.pass(second)
				from := alice
				if r.Header != nil {
					from = proxy
					peers <- alice.Addr()
				}
				c := t.arriveAt(open, from, netip.AddrPortFrom(local, 30000))
				if c.closes() != 1 || t.events.get("late") != 1 {
					t.Errorf("closed %d times, %d late; want one", c.closes(), t.events.get("late"))
				}
				open.Close()
				if r.Header != nil { // A relay may try again.
					t.mustFreeAt(there, Short)
					t.mustFreeAt(here, Short+second)
					return
				}
				t.must(here).Close()
				t.mustFreeAt(there, Short)
			})
		})
	}
}

// A relay that finds its connection reset before it has seen that it was connected tries
// again, whatever its client does. So a connection that nobody took frees nothing.
func TestResetBehindAProxy(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*Lease)
		free time.Duration
	}{
		{"moved on", (*Lease).movedOn, Short},
		{"closed, moved on", func(l *Lease) { l.Close(); l.movedOn() }, Short},
		{"told", (*Lease).told, Long},
		{"closed, told", func(l *Lease) { l.Close(); l.told() }, Long},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				peers := make(chan netip.Addr, 1)
				r := headed(one, alice, 1, peers)
				l := t.promised(r)
				peers <- alice.Addr()
				c := t.arriveAt(l, proxy, l.Addr())
				if t.mustState(l, held); !l.isUnmet() {
					t.Error("nothing is to be said of the lease")
				}
				l.fallSilent() // It is not.
				t.mustState(l, held)
				if tt.end(l); c.closes() != 1 {
					t.Errorf("the connection was closed %d times, want once", c.closes())
				}
				t.mustFreeAt(r, tt.free)
				t.mustRest()
			})
		})
	}
	for name, free := range map[string]time.Duration{"taken": Short, "taken, and closed later": second + Short, "heard": 0} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				peers := make(chan netip.Addr, 1)
				r := headed(one, alice, 1, peers)
				l := t.promised(r)
				peers <- alice.Addr()
				t.arriveAt(l, proxy, l.Addr())
				t.mustFull(r)
				if _, err := l.Accept(context.Background()); err != nil || l.isUnmet() {
					t.Fatalf("%v, unmet %v", err, l.isUnmet())
				}
				t.mustFull(r)
				if free == 0 {
					l.Heard()
					t.must(r).Close()
					return
				}
				if free > Short {
					t.pass(second)
					l.Close()
				}
				t.mustFreeAt(r, free)
				l.Heard()
				l.Close()
				t.must(r).Close()
			})
		})
	}
}
