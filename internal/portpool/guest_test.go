package portpool

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
)

// heard proves what a connection says, once it does; strangers are silent.
func heard(conn net.Conn) (net.Conn, uint64, error) {
	c := conn.(*fakeConn)
	select {
	case owner := <-c.says:
		return named{conn}, owner, nil
	case <-c.gone:
		return nil, 0, net.ErrClosed
	}
}

func speaking(peer netip.Prefix, owner uint64) Request {
	r := ask(one, peer, owner)
	r.Prove = heard
	r.Alike = "speaking"
	return r
}

// closed counts those that were reset.
func closed(conns []*fakeConn) (n int) {
	for _, c := range conns {
		n += c.closes()
	}
	return n
}

// However many silent connections strangers open, a peer's own gets through: those
// of other addresses are not waited for at all, and of those of its own address the
// oldest makes room.
func TestSilentStrangers(t *testing.T) {
	stranger := netip.MustParsePrefix("198.51.100.66/32")
	for _, n := range []int{16, 40, 1000} {
		for _, from := range []netip.Prefix{stranger, alice} {
			t.Run(fmt.Sprint(n, " from ", from.Addr()), func(t *testing.T) {
				onFakes(t, func(t *bench) {
					l := t.promised(speaking(alice, 1))
					neighbour := t.promised(speaking(bob, 2))
					friend := t.mustDial(bob, neighbour)
					var flood []*fakeConn
					for range n / 2 {
						flood = append(flood, t.mustDial(from, l))
					}
					mine := t.mustDial(alice, l)
					for range n - n/2 {
						flood = append(flood, t.mustDial(from, l))
					}
					if mine.closes() > 0 { // The peer tries again.
						if from == stranger {
							t.Error("strangers of another address use up the peer's places")
						}
						mine = t.mustDial(alice, l)
					}
					if mine.closes() > 0 || friend.closes() > 0 {
						t.Fatalf("the peer's retry is closed %d times, its neighbour's connection %d times", mine.closes(), friend.closes())
					}
					if open := n - closed(flood); open > maxUnproven+1 {
						t.Errorf("%d of %d strangers wait", open, n)
					}
					mine.says <- 1
					t.mustAccept(l, mine)
					friend.says <- 2
					t.mustAccept(neighbour, friend)
					synctest.Wait()
					if open := n - closed(flood); open > 0 {
						t.Errorf("%d of %d strangers are left", open, n)
					}
					t.mustRest()
				})
			})
		}
	}
}

// A peer has one place for each lease and some more, and each place ends with its lease.
func TestPlacesOfAPeer(t *testing.T) {
	onFakes(t, func(t *bench) {
		var leases []*Lease
		for owner := uint64(1); owner <= 3; owner++ {
			leases = append(leases, t.promised(speaking(alice, owner)))
		}
		other := t.promised(speaking(bob, 9)) // keeps the port open
		l := leases[0]
		if l.Approached() {
			t.Error("approached by nobody")
		}
		var all []*fakeConn
		for range maxUnproven + len(leases) + 5 {
			all = append(all, t.mustDial(alice, l))
		}
		for i, c := range all {
			if want := min(1, max(0, 5-i)); c.closes() != want {
				t.Errorf("connection %d was closed %d times; want %d: the oldest makes room", i, c.closes(), want)
			}
		}
		if n := t.events.get("crowded"); n != 5 {
			t.Errorf("%d times crowded; want 5", n)
		}
		if !l.Approached() || other.Approached() {
			t.Errorf("approached: %v, the neighbour %v", l.Approached(), other.Approached())
		}
		leases[0].movedOn()
		leases[1].movedOn()
		if n := closed(all); n != 5 {
			t.Errorf("%d are closed while a lease waits; want 5", n)
		}
		leases[2].movedOn()
		synctest.Wait()
		if n := closed(all); n != len(all) || leases[2].Approached() {
			t.Errorf("%d of %d are closed after the last lease", n, len(all))
		}
		other.Close()
	})
}

// A prefix: those that ended with its lease are those of the prefix alone.
func TestGuestsOfAPrefix(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(speaking(netip.MustParsePrefix("198.51.100.0/28"), 1))
		other := t.promised(speaking(netip.MustParsePrefix("198.51.100.77/32"), 2))
		a, b, c := t.mustDial(alice, l), t.mustDial(bob, l), t.mustDial(other.request.Peer, l)
		l.told()
		synctest.Wait()
		if a.closes() != 1 || b.closes() != 1 || c.closes() != 0 {
			t.Errorf("closed %d, %d and %d times; want those of the prefix", a.closes(), b.closes(), c.closes())
		}
		c.says <- 2
		t.mustAccept(other, c)
	})
}

// Connections that send no header are bounded for each proxy, over all its ports.
func TestProxyThatSendsNoHeaders(t *testing.T) {
	onFakes(t, func(t *bench) {
		other := netip.MustParsePrefix("10.2.2.2/32")
		ports := Range{30000, 30001}
		r := ask(ports, alice, 1)
		r.Through, r.Alike = []netip.Prefix{proxy, other}, "header"
		r.Header = func(conn net.Conn) (net.Conn, netip.Addr, error) {
			c := conn.(*fakeConn)
			select {
			case <-c.says:
				return named{conn}, alice.Addr(), nil
			case <-c.gone:
				return nil, netip.Addr{}, net.ErrClosed
			}
		}
		a, b := t.promised(r), t.promised(r)
		first := t.mustDial(other, a)
		var flood []*fakeConn
		for i := range 18_000 {
			l := a
			if i%2 == 1 {
				l = b
			}
			flood = append(flood, t.net.dial(proxy.Addr(), l.Addr()))
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if open := len(flood) - closed(flood); open != maxHeaders {
			t.Errorf("%d connections wait for their header; want %d", open, maxHeaders)
		}
		if first.closes() > 0 {
			t.Error("one proxy uses up the places of another")
		}
		first.says <- 0
		t.mustAccept(a, first)
		mine := t.mustDial(proxy, b)
		mine.says <- 0
		t.mustAccept(b, mine)
		if open := len(flood) - closed(flood); open > 0 {
			t.Errorf("%d are left", open)
		}
		t.mustRest()
	})
}

// Nobody is told of those that were sent away, and what they say later is not heard.
func TestGuestThatWasSentAway(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(speaking(alice, 1))
		l2 := t.promised(speaking(alice, 2))
		slow := make(chan struct{})
		r := speaking(bob, 3)
		r.Prove = func(conn net.Conn) (net.Conn, uint64, error) {
			<-slow
			return named{conn}, 3, nil
		}
		r.Alike = "slow"
		m := t.promised(r)
		c := t.mustDial(bob, m)
		m.movedOn()
		if c.closes() != 1 {
			t.Errorf("closed %d times; want once", c.closes())
		}
		t.pass(Short)
		again := t.promised(r)
		close(slow)
		t.pass(second)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if conn, err := again.Accept(ctx); conn != nil {
			t.Errorf("Accept = %v, %v; want nothing", conn, err)
		}
		for _, l := range []*Lease{l, l2, again} {
			l.Close()
		}
	})
}
