package portpool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// A neighbourhood is a pool in which one peer has every port and asks for more, and
// another goes about its business.
type neighbourhood struct {
	*Pool
	NoEvents
	waits   chan struct{} // one for each request that was made to wait, or refused
	waiters sync.WaitGroup
	cancel  context.CancelFunc
	queued  int // how often a listener's queue was looked at
	other   Request
	conn    *fakeConn
}

func (n *neighbourhood) Waiting(Request) { n.waits <- struct{}{} }

// idleListener is one whose queue is looked at.
type idleListener struct {
	nowhere
	count *int
}

func (l idleListener) Queued() []net.Conn { *l.count++; return nil }

// newNeighbourhood makes requests of a peer that has none of its 100 ports free, some
// of them withheld. All but the first maxWaiters are refused at once.
func newNeighbourhood(tb testing.TB, requests int) *neighbourhood {
	tb.Helper()
	n := &neighbourhood{waits: make(chan struct{}, 2*requests)}
	n.Pool = New(Options{Events: n, Listen: func(netip.AddrPort, bool) (net.Listener, error) {
		return idleListener{make(nowhere), &n.queued}, nil
	}})
	ports := Range{30000, 30099}
	r := ask(ports, alice, 1)
	r.Evict = func() {}
	for i := range ports.Len() {
		l, err := n.Lease(context.Background(), r)
		if err != nil {
			tb.Fatal(err)
		}
		if l.promise(); i < 10 {
			l.fallSilent()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	for i := range requests {
		n.waiters.Add(1)
		go func() {
			defer n.waiters.Done()
			n.Lease(ctx, ask(ports, alice, uint64(2+i)))
		}()
	}
	for range requests {
		<-n.waits
	}
	n.mu.Lock()
	if want := min(requests, maxWaiters); n.waiting != want {
		tb.Errorf("%d wait; want %d", n.waiting, want)
	}
	n.mu.Unlock()
	n.other = ask(ports, bob, 9999)
	n.conn = newConn(bob.Addr(), netip.AddrPortFrom(local, 30000), 1024, time.Now().Add(time.Hour))
	n.Born = bornOf
	return n
}

func (n *neighbourhood) close() {
	n.cancel()
	n.waiters.Wait()
	n.Close()
}

// meet is one data connection of the other peer: Lease, Promise and its delivery.
func (n *neighbourhood) meet(tb testing.TB) {
	l, err := n.Lease(context.Background(), n.other)
	if err != nil {
		tb.Fatal(err)
	}
	l.promise()
	n.accepted(l.port.open, n.conn)
	if c, err := l.Accept(context.Background()); c != net.Conn(n.conn) {
		tb.Fatal(err)
	}
	l.Close()
}

// What one peer's requests cost another, counted: nothing. The time is for
// BenchmarkNeighbour.
func TestNoPeerSlowsAnother(t *testing.T) {
	measure := func(requests int) (allocs float64, queued, found int) {
		n := newNeighbourhood(t, requests)
		defer n.close()
		for range 200 { // Bob's history is as long as it gets.
			n.meet(t)
		}
		n.queued = 0
		allocs = testing.AllocsPerRun(100, func() { n.meet(t) })
		n.mu.Lock()
		defer n.mu.Unlock()
		return allocs, n.queued, len(n.waitersFor(&n.other))
	}
	allocs, queued, found := measure(0)
	for _, requests := range []int{256, 2400} {
		a, q, f := measure(requests)
		if a > allocs || q > queued || f != found {
			t.Errorf("%d requests of a neighbour: %v allocations, %d queues and %d waiters looked at; want %v, %d and %d as without",
				requests, a, q, f, allocs, queued, found)
		}
	}
}

// The cost of one data connection of a peer, by how many requests of another wait.
func BenchmarkNeighbour(b *testing.B) {
	for _, requests := range []int{0, 256, 2400} {
		b.Run(fmt.Sprint(requests), func(b *testing.B) {
			n := newNeighbourhood(b, requests)
			defer n.close()
			b.ReportAllocs()
			for b.Loop() {
				n.meet(b)
			}
		})
	}
}

// The same while the other's requests do not only wait: each that is refused asks
// again. Two cores share the work, so this shows the lock and not the length of a queue.
func BenchmarkNoisyNeighbour(b *testing.B) {
	for _, requests := range []int{0, 2400} {
		b.Run(fmt.Sprint(requests), func(b *testing.B) {
			n := newNeighbourhood(b, requests)
			defer n.close()
			ctx, cancel := context.WithCancel(context.Background())
			var asking sync.WaitGroup
			asked := 0
			if requests > 0 {
				asking.Add(1)
				go func() {
					defer asking.Done()
					for r := ask(Range{30000, 30099}, alice, 5000); ctx.Err() == nil; asked++ {
						n.Lease(ctx, r)
						<-n.waits
					}
				}()
			}
			for b.Loop() {
				n.meet(b)
			}
			cancel()
			asking.Wait()
			b.ReportMetric(float64(asked)/float64(b.N), "asked/op")
		})
	}
}

// What a request costs that is refused because too many wait.
func BenchmarkRefused(b *testing.B) {
	n := newNeighbourhood(b, 2400)
	defer n.close()
	r := ask(Range{30000, 30099}, alice, 5000)
	for b.Loop() {
		if _, err := n.Lease(context.Background(), r); !errors.Is(err, ErrFull) {
			b.Fatal(err)
		}
		<-n.waits
	}
}

// The pool alone, with many clients pending on few ports.
func BenchmarkCrowded(b *testing.B) {
	for _, clients := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			p := New(Options{Listen: (&quietNetwork{}).listen})
			defer p.Close()
			ports := Range{30000, 30099}
			addr := netip.MustParseAddr("10.0.0.0")
			request := func(owner uint64) Request {
				addr = addr.Next()
				return Request{Local: loopback, Ports: ports, Peer: netip.PrefixFrom(addr, 32), Owner: owner}
			}
			for i := range clients {
				if _, err := p.Lease(context.Background(), request(uint64(i+1))); err != nil {
					b.Fatal(err)
				}
			}
			r := request(uint64(clients + 1))
			b.ReportAllocs()
			for b.Loop() {
				l, err := p.Lease(context.Background(), r)
				if err != nil {
					b.Fatal(err)
				}
				l.Close()
			}
		})
	}
}
