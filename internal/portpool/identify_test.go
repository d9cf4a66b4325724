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

// by identifies connections as those of the peers sent, in their order; an invalid
// one is an error.
func by(peers <-chan netip.Addr) func(net.Conn) (net.Conn, Identity, error) {
	return func(conn net.Conn) (net.Conn, Identity, error) {
		peer := <-peers
		if !peer.IsValid() {
			return nil, Identity{}, errors.New("unknown")
		}
		return named{conn}, Identity{Peer: peer}, nil
	}
}

var proxy = netip.MustParsePrefix("10.1.1.1/32")

func (t *bench) mustAccept(l *Lease, want *fakeConn) {
	t.Helper()
	got, err := l.Accept(context.Background())
	if n, ok := got.(named); err != nil || !ok || n.Conn != net.Conn(want) {
		t.Fatalf("Accept = %v, %v; want %v, identified", got, err, want)
	}
	got.Close()
}

// Clients behind one proxy share a port: what identifies a connection decides.
func TestIdentifiedConnections(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr)
		a, b := ask(one, alice, 1), ask(one, bob, 2)
		a.Identify, b.Identify = by(peers), by(peers)
		a.Through, b.Through = []netip.Prefix{proxy}, []netip.Prefix{proxy}
		la, lb := t.must(a), t.must(b)
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
		la.Close()
		lb.Close()
		if n := t.events.get("stranger"); n != 0 {
			t.Errorf("%d strangers", n)
		}
	})
}

// A connection that cannot be identified, is another's or comes too late costs
// nothing but itself, and a slow one delays no other.
func TestUnidentifiedConnections(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr)
		r := ask(one, alice, 1)
		r.Identify, r.Through = by(peers), []netip.Prefix{proxy}
		l := t.must(r)
		slow, unknown, strange := t.mustDial(proxy, l), t.mustDial(proxy, l), t.mustDial(proxy, l)
		peers <- netip.Addr{}
		synctest.Wait()
		if n := t.events.get("stranger"); n != 0 {
			t.Errorf("%d strangers after one that nobody knows", n)
		}
		peers <- bob.Addr()
		synctest.Wait()
		if n := t.events.get("stranger"); n != 1 {
			t.Errorf("%d strangers after bob", n)
		}
		if n := slow.closes() + unknown.closes() + strange.closes(); n != 2 {
			t.Errorf("%d of three are closed", n)
		}
		t.pass(time.Second)
		l.Close() // One is still being identified.
		peers <- alice.Addr()
		synctest.Wait()
		if n := slow.closes() + unknown.closes() + strange.closes(); n != 3 {
			t.Errorf("%d of three are closed after the lease", n)
		}
		t.pass(quarantineTime)
	})
}

// Leases of a configuration without identification have theirs by the address, on
// the same port.
func TestIdentifiedBesideOthers(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr, 1)
		a, b := ask(one, alice, 1), ask(one, bob, 2)
		a.Identify, a.Through = by(peers), []netip.Prefix{proxy}
		la, lb := t.must(a), t.must(b)
		t.use(lb)
		peers <- alice.Addr()
		c := t.mustDial(proxy, la)
		t.mustAccept(la, c)
		la.Close()
		lb.Close()
	})
}

// The end of a pool ends the wait for those that are being identified.
func TestPoolCloseWhileIdentifying(t *testing.T) {
	onFakes(t, func(t *bench) {
		r := ask(one, alice, 1)
		r.Identify = func(conn net.Conn) (net.Conn, Identity, error) {
			for conn.(*fakeConn).closes() == 0 {
				time.Sleep(time.Millisecond)
			}
			return nil, Identity{}, net.ErrClosed
		}
		l := t.must(r)
		c := t.mustDial(proxy, l)
		t.pool.Close()
		if c.closes() != 1 {
			t.Errorf("closed %d times", c.closes())
		}
	})
}

// A lease is given only what came through those that it trusts itself, whatever
// others on the port do.
func TestLeasesTrustApart(t *testing.T) {
	onFakes(t, func(t *bench) {
		other := netip.MustParsePrefix("10.2.2.2/32")
		peers := make(chan netip.Addr, 1)
		a, b := ask(one, alice, 1), ask(one, bob, 2)
		a.Identify, a.Through = by(peers), []netip.Prefix{proxy}
		b.Identify, b.Through = by(peers), []netip.Prefix{other}
		la, lb := t.must(a), t.must(b)
		peers <- bob.Addr()
		if c := t.mustDial(proxy, la); c.closes() != 1 || t.events.get("stranger") != 1 {
			t.Errorf("bob's through alice's proxy: %d closes, %d strangers", c.closes(), t.events.get("stranger"))
		}
		peers <- bob.Addr()
		t.mustAccept(lb, t.mustDial(other, lb))
		peers <- alice.Addr()
		t.mustAccept(la, t.mustDial(proxy, la))
		la.Close()
		lb.Close()
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
			r := ask(one, alice, owner)
			r.ByOwner, r.Through = true, []netip.Prefix{alice}
			r.Identify = func(conn net.Conn) (net.Conn, Identity, error) {
				return named{conn}, Identity{Peer: alice.Addr(), Owner: <-owners}, nil
			}
			leases = append(leases, t.must(r))
		}
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
		for _, l := range leases {
			l.Close()
		}
		if n := t.events.get("stranger"); n != 2 {
			t.Errorf("%d strangers, want 2", n)
		}
	})
}

// A lease by owner and one by address would both want the same connection.
func TestOwnersAndAddressesDoNotShare(t *testing.T) {
	onFakes(t, func(t *bench) {
		a, b := ask(one, alice, 1), ask(one, alice, 2)
		a.ByOwner = true
		t.must(a)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if l, err := t.pool.Lease(ctx, b); !errors.Is(err, ErrFull) {
			t.Errorf("Lease = %v, %v; want ErrFull", l, err)
		}
	})
}

// A connection that is refused is told of to the lease that it must have been for;
// where it may have been for several, to nobody.
func TestRefusedConnections(t *testing.T) {
	onFakes(t, func(t *bench) {
		told := make(map[uint64]int)
		request := func(owner uint64) Request {
			r := ask(one, alice, owner)
			r.ByOwner, r.Through = true, []netip.Prefix{alice}
			r.Refused = func(error) { told[owner]++ }
			r.Identify = func(net.Conn) (net.Conn, Identity, error) { return nil, Identity{Peer: alice.Addr()}, errors.New("no") }
			return r
		}
		a := t.must(request(1))
		t.mustDial(alice, a)
		synctest.Wait()
		b := t.must(request(2))
		t.mustDial(alice, a)
		synctest.Wait()
		if told[1] != 1 || told[2] != 0 {
			t.Errorf("told %v, want the first alone, and once", told)
		}
		a.Close()
		b.Close()
	})
}

// What is being identified is bounded, and ends with the last lease that waits.
func TestManyUnknownConnections(t *testing.T) {
	onFakes(t, func(t *bench) {
		r := ask(one, alice, 1)
		r.Through, r.MostUnknown = []netip.Prefix{alice}, 16
		r.Identify = func(conn net.Conn) (net.Conn, Identity, error) {
			for conn.(*fakeConn).closes() == 0 {
				time.Sleep(time.Millisecond)
			}
			return nil, Identity{}, net.ErrClosed
		}
		l := t.must(r)
		if l.Approached() {
			t.Error("approached by nobody")
		}
		var all []*fakeConn
		for range r.MostUnknown + 5 {
			all = append(all, t.mustDial(alice, l))
		}
		closed := func() (n int) {
			for _, c := range all {
				n += c.closes()
			}
			return n
		}
		if n := closed(); n != 5 || !l.Approached() {
			t.Errorf("%d are refused, approached: %v", n, l.Approached())
		}
		l.Close()
		synctest.Wait()
		if n := closed(); n != len(all) || l.Approached() {
			t.Errorf("%d of %d are closed behind the lease, approached: %v", n, len(all), l.Approached())
		}
	})
}

// Leases whose connections are identified in different ways never share a port.
func TestNotAlike(t *testing.T) {
	onFakes(t, func(t *bench) {
		peers := make(chan netip.Addr, 1)
		a, b := ask(one, alice, 1), ask(one, bob, 2)
		a.Identify, a.Through, a.Alike = by(peers), []netip.Prefix{proxy}, "TLS"
		b.Identify, b.Through, b.Alike = by(peers), []netip.Prefix{proxy}, "clear"
		la := t.must(a)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if l, err := t.pool.Lease(ctx, b); !errors.Is(err, ErrFull) {
			t.Errorf("Lease = %v, %v; want ErrFull", l, err)
		}
		la.Close()
	})
}
