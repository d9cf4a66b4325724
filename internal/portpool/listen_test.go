package portpool

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var three = Range{30000, 30002}

func TestPortListensOnlyWhileALeaseIsPending(t *testing.T) {
	onFakes(t, func(t *bench) {
		a, b := t.must(ask(one, alice, 1)), t.must(ask(one, bob, 2))
		t.use(a)
		if open := t.net.listening(); !slices.Equal(open, []uint16{30000}) {
			t.Errorf("ports %v listen; want 30000 for the second lease", open)
		}
		if n := len(t.net.attempts()); n != 1 {
			t.Errorf("%d listeners for one port", n)
		}
		b.Close()
		t.mustRest()
	})
}

// H52.
func TestStrangerIsClosedAndTheListenerStays(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		c := t.mustDial(bob, l)
		if c.closes() != 1 || !c.linger {
			t.Errorf("stranger: closed %d times, reset %v; want one reset", c.closes(), c.linger)
		}
		other := t.must(ask(one, bob, 2))
		t.use(l)
		again := t.mustDial(alice, other) // The lease of this peer is satisfied.
		if again.closes() != 1 {
			t.Error("a second connection of the rightful peer was kept")
		}
		if n := t.events.get("stranger"); n != 2 {
			t.Errorf("%d strangers; want 2", n)
		}
		t.use(other)
		t.mustRest()
	})
}

func TestTakenPortIsPassedOver(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.net.setFail(syscall.EADDRINUSE, 30000)
		t.net.setFail(syscall.EACCES, 30002)
		for i := range 20 {
			l := t.must(ask(three, alice, uint64(1+i)))
			if l.Addr().Port() != 30001 {
				t.Fatalf("lent %v", l.Addr())
			}
			t.use(l)
		}
		if n := t.events.get("busy"); n > 2 {
			t.Errorf("%d failed attempts within a second; want at most one for each port", n)
		}
	})
}

func TestNoPortCanBeBound(t *testing.T) {
	for _, cause := range []error{syscall.EADDRINUSE, syscall.EACCES} {
		onFakes(t, func(t *bench) {
			t.net.setFail(cause, 30000, 30001, 30002)
			for range 3 {
				if l, err := t.pool.Lease(context.Background(), ask(three, alice, 1)); !errors.Is(err, ErrBind) || !errors.Is(err, cause) {
					t.Errorf("Lease = %v, %v; want ErrBind with %v", l, err, cause)
				}
			}
			if a := t.net.attempts(); len(a) != 3 {
				t.Errorf("tried %v; want each port once", a)
			}
			if t.at() != 0 {
				t.Error("it waited")
			}
			t.net.setFail(nil, 30001)
			t.pass(busyTime)
			t.mustRest()
			t.must(ask(three, alice, 1))
		})
	}
}

// Out of descriptors, or without the address, no other port would do better.
func TestFailureThatConcernsAllPorts(t *testing.T) {
	for _, cause := range []error{syscall.EMFILE, syscall.EADDRNOTAVAIL} {
		for _, hold := range []bool{false, true} {
			onFakes(t, func(t *bench) {
				t.net.setFail(cause, 30000, 30001, 30002)
				r := ask(three, alice, 1)
				r.Hold = hold
				if l, err := t.try(r); !errors.Is(err, ErrBind) || !errors.Is(err, cause) {
					t.Errorf("Lease = %v, %v; want ErrBind with %v", l, err, cause)
				}
				if a := t.net.attempts(); len(a) != 1 {
					t.Errorf("tried %v; want one", a)
				}
				t.net.setFail(nil, 30000, 30001, 30002)
				t.must(r) // No port is remembered as busy.
			})
		}
	}
}

// While one port is lent and the others are busy there is something to wait for.
func TestBusyPortsDoNotEndAWait(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.net.setFail(syscall.EADDRINUSE, 30000, 30001)
		l := t.must(ask(three, alice, 1))
		w := t.wait(ask(three, alice, 2), time.Minute)
		t.pass(second / 2)
		t.net.setFail(nil, 30001)
		t.want(w, "lent at 1s")
		if w.lease.Addr().Port() != 30001 {
			t.Errorf("lent %v", w.lease.Addr())
		}
		t.use(l)
	})
}

// The port is lost to another program just when it would pass on.
func TestWaitEndsWhenThePortIsLost(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		w := t.wait(ask(one, alice, 2), time.Minute)
		t.net.setFail(syscall.EADDRINUSE, 30000)
		t.use(l)
		t.want(w, "not bound at 0s")
		if !errors.Is(w.err, syscall.EADDRINUSE) {
			t.Errorf("%v has no cause", w.err)
		}
		t.pass(busyTime)
		t.mustRest()
	})
}

func TestAcceptFailureKeepsTheLease(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(ask(one, alice, 1))
		ln := t.net.listener(l.Addr())
		ln.setFail(&net.OpError{Op: "accept", Err: syscall.EMFILE})
		t.mustDial(bob, l) // wakes the loop
		t.pass(10 * second)
		if n := ln.setFail(nil); n > 30 || n < 5 {
			t.Errorf("%d accepts in 10 s without descriptors; want a pause that grows to a second", n)
		}
		c := t.net.dial(alice.Addr(), l.Addr())
		if got, err := l.Accept(context.Background()); got != net.Conn(c) || err != nil {
			t.Errorf("Accept = %v, %v", got, err)
		}
		if t.at() > 12*second {
			t.Errorf("accepted at %v", t.at())
		}
	})
}

func TestCloseEndsTheAcceptPause(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		t.net.listener(l.Addr()).setFail(syscall.EMFILE)
		t.mustDial(bob, l)
		t.pass(10*second + 1)
		before := t.at()
		l.Close()
		t.pool.Close()
		if t.at() != before {
			t.Errorf("Close took %v", t.at()-before)
		}
	})
}

func TestListenerClosedByAnother(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		ln := t.net.listener(l.Addr())
		synctest.Wait() // Accept is waiting: it is the one after it that fails.
		ln.setFail(net.ErrClosed)
		t.mustDial(bob, l)
		if _, err := l.Accept(context.Background()); !errors.Is(err, ErrBind) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v; want ErrBind with the cause", err)
		}
		t.mustRest()
	})
}

func TestPeers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lease string
		from  string
		ok    bool
	}{
		{"IPv4", "198.51.100.1/32", "198.51.100.1", true},
		{"IPv4 mapped into IPv6", "198.51.100.1/32", "::ffff:198.51.100.1", true},
		{"mapped in the request", "::ffff:198.51.100.1/128", "198.51.100.1", true},
		{"mapped prefix", "::ffff:198.51.100.7/120", "198.51.100.1", true},
		{"prefix not masked", "198.51.100.77/24", "198.51.100.1", true},
		{"outside the prefix", "198.51.100.0/25", "198.51.100.200", false},
		{"IPv6", "2001:db8::1/128", "2001:db8::1", true},
		{"IPv6 prefix", "2001:db8::1/64", "2001:db8::2", true},
		{"link-local with its zone", "fe80::1/128", "fe80::1%eth0", true},
		{"other IPv6", "2001:db8::1/128", "2001:db8::2", false},
		{"every IPv4 is not every IPv6", "0.0.0.0/0", "2001:db8::2", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				l := t.promised(Request{Local: netip.IPv6Unspecified(), Ports: one, Peer: netip.MustParsePrefix(tt.lease), Owner: 1})
				c := t.net.dial(netip.MustParseAddr(tt.from), l.Addr())
				synctest.Wait()
				if got := l.state == delivered; got != tt.ok || got == (c.closes() == 1) {
					t.Errorf("delivered %v, closed %d times; want delivered %v", got, c.closes(), tt.ok)
				}
				l.Close()
			})
		})
	}
}

// Prefixes of different lengths that overlap are one peer.
func TestOverlappingPeersDoNotShare(t *testing.T) {
	onFakes(t, func(t *bench) {
		net24 := netip.MustParsePrefix("198.51.100.0/24")
		a, b := t.promised(ask(one, alice, 1)), t.promised(ask(one, bob, 2))
		t.mustFull(ask(one, net24, 3))
		w := t.wait(ask(one, net24, 3), time.Minute)
		t.pass(second)
		t.use(a)
		if w.over() {
			t.Fatal("lent to a prefix while one address of it has the port")
		}
		b.movedOn()
		t.want(w, "lent at 5s")
		t.mustFull(ask(one, alice, 1))
	})
}

// A connection is resolved by whose network it comes from, foreign ones too.
func TestForeignNetworksShareTheKey(t *testing.T) {
	onFakes(t, func(t *bench) {
		partner := netip.MustParsePrefix("203.0.113.7/32")
		r := ask(one, alice, 1)
		r.Others = []netip.Prefix{foreign, alice} // the peer itself adds nothing
		l := t.promised(r)
		t.mustFull(ask(one, partner, 2))
		t.mustFull(ask(one, alice, 2))
		c := t.mustDial(partner, l)
		if got, err := l.Accept(context.Background()); got != net.Conn(c) || err != nil {
			t.Errorf("Accept = %v, %v; want the partner's connection", got, err)
		}
		t.must(ask(one, partner, 2)).Close()
		t.must(ask(one, alice, 2)).Close()
		t.mustRest()
	})
}

func TestInvalidRequests(t *testing.T) {
	onFakes(t, func(t *bench) {
		for name, r := range map[string]Request{
			"no ports":    {Local: local, Peer: alice},
			"port 0":      {Local: local, Ports: Range{0, 10}, Peer: alice},
			"upside down": {Local: local, Ports: Range{2, 1}, Peer: alice},
			"no local":    {Ports: one, Peer: alice},
			"no peer":     {Local: local, Ports: one},
		} {
			if l, err := t.try(r); !errors.Is(err, ErrRequest) {
				t.Errorf("%s: %v, %v; want ErrRequest", name, l, err)
			}
		}
		if a := t.net.attempts(); len(a) > 0 {
			t.Errorf("listened on %v", a)
		}
	})
}

func TestAcceptContext(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.promised(ask(one, alice, 1))
		cause := errors.New("client gone")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		if c, err := l.Accept(ctx); !errors.Is(err, cause) {
			t.Errorf("Accept = %v, %v; want the cause", c, err)
		}
		t.mustDial(alice, l)
		if c, err := l.Accept(ctx); c == nil || err != nil {
			t.Errorf("Accept = %v, %v; want the connection that is there", c, err)
		}
		if c, err := l.Accept(context.Background()); c != nil || !errors.Is(err, ErrClosed) {
			t.Errorf("second Accept = %v, %v; want ErrClosed", c, err)
		}
	})
}

func TestCloseWakesAccept(t *testing.T) {
	onFakes(t, func(t *bench) {
		l := t.must(ask(one, alice, 1))
		got := make(chan error)
		go func() {
			_, err := l.Accept(context.Background())
			got <- err
		}()
		synctest.Wait()
		l.Close()
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("Accept: %v; want ErrClosed", err)
		}
	})
}

func TestPoolClose(t *testing.T) {
	onFakes(t, func(t *bench) {
		waiting := t.promised(ask(one, alice, 1))
		untaken := t.promised(ask(three, bob, 2))
		t.promised(ask(Range{32000, 32000}, alice, 6)).told()
		t.promised(ask(Range{32001, 32001}, alice, 6)).fallSilent()
		conn := t.mustDial(bob, untaken)
		held := ask(Range{31000, 31000}, bob, 3)
		held.Hold = true
		l := t.must(held)
		t.use(l)
		w := t.wait(ask(one, alice, 4), time.Minute)
		t.pool.Close()
		t.pool.Close()
		<-w.done
		if t.at() != 0 {
			t.Errorf("Close waited until %v", t.at())
		}
		_, err := waiting.Accept(context.Background())
		_, untakenErr := untaken.Accept(context.Background())
		_, late := t.try(ask(one, alice, 5))
		for name, err := range map[string]error{"Accept": err, "Accept of an untaken one": untakenErr, "the wait": w.err, "Lease": late} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s: %v; want ErrClosed", name, err)
			}
		}
		if conn.closes() != 1 {
			t.Errorf("the untaken connection was closed %d times", conn.closes())
		}
		if c := t.net.conns[1]; c.closes() != 0 {
			t.Error("a taken connection was closed; it is the caller's")
		}
		for _, l := range []*Lease{waiting, untaken, l} {
			l.Close()
		}
		t.mustRest()
	})
}

// slowListener returns from Accept only a second after it was closed.
type slowListener struct{ net.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	time.Sleep(second)
	return c, err
}

func TestPoolCloseWaitsForItsGoroutines(t *testing.T) {
	onFakes(t, func(t *bench) {
		p := New(Options{Listen: func(addr netip.AddrPort, _ bool) (net.Listener, error) {
			ln, err := t.net.listen(addr, false)
			return slowListener{ln}, err
		}})
		if _, err := p.Lease(context.Background(), ask(one, alice, 1)); err != nil {
			t.Fatal(err)
		}
		if p.Close(); t.at() != second {
			t.Errorf("Close returned at %v; want 1s, after the accept loop", t.at())
		}
	})
}

// A connection that the last listener of a port had already accepted when it
// was closed is not for the next lease, whatever its age.
func TestConnectionOfAClosedListener(t *testing.T) {
	for name, r := range map[string]Request{"alone": ask(one, alice, 1), "with a header": headed(one, alice, 1, nil)} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				l := t.must(r)
				old := l.port.open
				l.Close()
				l = t.promised(r)
				for _, from := range []netip.Prefix{alice, proxy} {
					c := newConn(from.Addr(), l.Addr(), 1024, time.Now())
					if t.pool.accepted(old, c) {
						t.Error("the loop of a closed listener goes on")
					}
					if !l.pending() || c.closes() != 1 {
						t.Errorf("delivered %v, closed %d times; want it closed", l.state == delivered, c.closes())
					}
				}
			})
		})
	}
}

// Whoever opens a port knows whose address it is.
func TestTransparent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newFakeNetwork()
		var got []bool
		p := New(Options{Listen: func(addr netip.AddrPort, transparent bool) (net.Listener, error) {
			got = append(got, transparent)
			return network.listen(addr, transparent)
		}})
		defer p.Close()
		for _, transparent := range []bool{true, false} {
			r := ask(one, alice, 1)
			r.Transparent = transparent
			l, err := p.Lease(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
		}
		if want := []bool{true, false}; !slices.Equal(got, want) {
			t.Errorf("listened with %v, want %v", got, want)
		}
	})
}
