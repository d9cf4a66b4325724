package portpool

import (
	"net/netip"
	"slices"
	"testing"
)

// Every port of a range is lent once to one peer, none outside it, also at the
// end of the port numbers.
func TestWholeRangeIsUsed(t *testing.T) {
	for _, ports := range []Range{{1, 1}, {65535, 65535}, {30000, 30001}, {65533, 65535}, {30000, 30011}, {30000, 30099}} {
		for _, hold := range []bool{false, true} {
			onFakes(t, func(t *bench) {
				seen := make(map[uint16]bool)
				for i := range ports.Len() {
					r := ask(ports, alice, uint64(1+i))
					r.Hold = hold
					l := t.must(r)
					if n := l.Addr().Port(); !ports.Contains(n) || seen[n] {
						t.Errorf("%v: port %d is outside the range or lent twice", ports, n)
					}
					seen[l.Addr().Port()] = true
				}
				t.mustFull(ask(ports, alice, 1000))
				if u, want := t.pool.Snapshot(), []Usage{{Local: local, Ports: ports, Pending: ports.Len()}}; !slices.Equal(u, want) {
					t.Errorf("snapshot %v; want %v", u, want)
				}
			})
		}
	}
}

// Fresh ports go first, at random.
func TestFreshPortsAreRandom(t *testing.T) {
	onFakes(t, func(t *bench) {
		first := make(map[uint16]int)
		neighbours := 0
		addr := alice.Addr()
		for range 200 {
			addr = addr.Next()
			r := ask(Range{30000, 30099}, netip.PrefixFrom(addr, 32), 1)
			a := t.must(r)
			b := t.must(r)
			first[a.Addr().Port()]++
			if b.Addr().Port() == a.Addr().Port()+1 {
				neighbours++
			}
		}
		// 87 different ones are expected, and 5 pairs of neighbours.
		if len(first) < 70 || neighbours > 40 {
			t.Errorf("%d different ports of 100, %d neighbours in 200 pairs", len(first), neighbours)
		}
	})
}

// Then the port goes first whose key is free for the longest time.
func TestLeastRecentlyUsedPortGoesFirst(t *testing.T) {
	for _, hold := range []bool{false, true} {
		onFakes(t, func(t *bench) {
			r := ask(Range{31000, 31004}, alice, 1)
			r.Hold = hold
			use := func() uint16 {
				l := t.must(r)
				t.use(l)
				l.Close()
				return l.Addr().Port()
			}
			var order []uint16
			for range r.Ports.Len() {
				order = append(order, use())
			}
			if all := slices.Sorted(slices.Values(order)); !slices.Equal(all, []uint16{31000, 31001, 31002, 31003, 31004}) {
				t.Fatalf("first %v; want each once", order)
			}
			long := t.promised(r)
			if hold {
				t.use(long)
			}
			want := func(at ...int) {
				t.Helper()
				for _, i := range at {
					if got := use(); got != order[i] {
						t.Errorf("hold %v: port %d; want %d of %v", hold, got, order[i], order)
					}
				}
			}
			want(1, 2, 3, 4, 1)
			if hold {
				long.Close() // It was in use until just now,
			}
			long.movedOn() // or cools still.
			t.pass(Short)
			other := r
			other.Peer = bob
			for range 7 { // What another peer did does not count.
				l := t.must(other)
				t.use(l)
				l.Close()
			}
			want(2, 3, 4, 1, 0, 2)
		})
	}
}

// One and the same prefix has one order, however it is written.
func TestOrderOfAPrefix(t *testing.T) {
	onFakes(t, func(t *bench) {
		var got []uint16
		for _, from := range []string{"203.0.113.7/24", "203.0.113.8/24", "203.0.113.9/24"} {
			l := t.must(ask(Range{31000, 31002}, netip.MustParsePrefix(from), 1))
			got = append(got, l.Addr().Port())
			l.Close()
		}
		if slices.Sort(got); !slices.Equal(got, []uint16{31000, 31001, 31002}) {
			t.Errorf("ports %v; want each once", got)
		}
	})
}

// A hundred thousand peers leave the bounded history, and that not for long.
func TestMemoryOfManyPeers(t *testing.T) {
	for name, request := range map[string]func(netip.Addr) Request{
		"one local address": func(a netip.Addr) Request { return ask(Range{30000, 30099}, netip.PrefixFrom(a, 32), 1) },
		"each its own": func(a netip.Addr) Request { // source = "client"
			return Request{Local: a, Transparent: true, Ports: Range{30000, 30099}, Peer: alice, Owner: 1, Hold: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onFakes(t, func(t *bench) {
				t.pool.Listen = (&quietNetwork{}).listen
				addr := netip.MustParseAddr("10.0.0.0")
				for i := range 100_000 {
					addr = addr.Next()
					l := t.must(request(addr))
					l.promise()
					switch i % 3 {
					case 0:
						l.movedOn()
					case 1:
						l.told()
					default:
						l.Close()
						l.told()
					}
				}
				t.pass(Long)
				t.mustRest()
				if n := len(t.pool.scopes); n > maxIdleScopes || t.pool.idle.Len() != n {
					t.Errorf("%d peers are remembered, %d of them idle; want at most %d", n, t.pool.idle.Len(), maxIdleScopes)
				}
				if n := len(t.pool.queues.cells) + len(t.pool.untaken) + len(t.pool.headers); n > 0 {
					t.Errorf("%d other things are remembered", n)
				}
				t.pass(idleScope + 1)
				t.must(ask(one, alice, 1)).Close()
				if n := len(t.pool.scopes); n != 1 {
					t.Errorf("%d peers are remembered after %v; want one", n, idleScope)
				}
			})
		})
	}
}

// A peer with very many ports is not remembered.
func TestMemoryOfManyPorts(t *testing.T) {
	onFakes(t, func(t *bench) {
		t.pool.Listen = (&quietNetwork{}).listen
		for _, n := range []int{maxIdleUsed, maxIdleUsed + 1} {
			r := ask(Range{10000, uint16(10000 + n - 1)}, alice, 1)
			for range n {
				t.must(r).Close()
			}
			remembered := 0
			if t.pool.scopes[r.scope()] != nil {
				remembered = 1
			}
			if want := maxIdleUsed + 1 - n; remembered != want {
				t.Errorf("%d ports: remembered %d times; want %d", n, remembered, want)
			}
		}
	})
}
