package portpool

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var modelSeed = flag.Uint64("model.seed", 0, "run the model test with this seed only")

// modelTick divides all the times that matter, so that the model looks at the
// very moment at which something happens.
const modelTick = 50 * time.Millisecond

// A model repeats what a pool should have done, from what its users can see.
type model struct {
	*bench
	rand   *rand.Rand
	leases []*modelLease
	waits  []*modelWait // first come first
	kept   []keptKey
	owner  uint64
	used   map[*fakeConn]bool // those that were accepted
}

type modelLease struct {
	*Lease
	request Request
	begin   time.Duration
	conn    *fakeConn // that should be delivered
	taken   bool
	over    bool // closed or expired
}

// lent tells whether the lease keeps its key from overlapping peers.
func (l *modelLease) lent() bool { return !l.over && (l.conn == nil || l.request.Hold) }

func (l *modelLease) pending() bool { return !l.over && l.conn == nil }

type modelWait struct {
	*wait
	request Request
	begin   time.Duration
}

// A keptKey is a key in quarantine.
type keptKey struct {
	addr  netip.AddrPort
	peers []netip.Prefix
	owner uint64
	until time.Duration
}

var modelPeers = []netip.Prefix{
	alice, bob,
	netip.MustParsePrefix("198.51.100.0/30"), // overlaps both
	netip.MustParsePrefix("198.51.100.9/32"),
	netip.MustParsePrefix("2001:db8::/64"),
}

// peersOf are all whose connections belong to a lease of r.
func peersOf(r Request) []netip.Prefix { return append([]netip.Prefix{r.Peer}, r.Others...) }

// collide tells whether a connection may belong to both.
func collide(a, b []netip.Prefix) bool {
	for _, p := range a {
		if slices.ContainsFunc(b, p.Overlaps) {
			return true
		}
	}
	return false
}

var modelRanges = []Range{{40000, 40002}, {40002, 40003}, {40003, 40003}}

// TestModel does random things to a pool on a small range and compares it with
// the model after each.
func TestModel(t *testing.T) {
	seeds := []uint64{*modelSeed}
	if *modelSeed == 0 {
		seeds = nil
		for range 20 {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		onFakes(t, func(t *bench) {
			m := &model{bench: t, rand: rand.New(rand.NewPCG(seed, 1)), used: make(map[*fakeConn]bool)}
			for range 300 {
				if m.step(); t.Failed() {
					t.Fatalf("run again with -model.seed=%d", seed)
				}
			}
			m.finish()
			if t.Failed() {
				t.Fatalf("run again with -model.seed=%d", seed)
			}
		})
	}
}

func pickOne[E any](r *rand.Rand, from []E) E { return from[r.IntN(len(from))] }

func (m *model) step() {
	switch n := m.rand.IntN(100); {
	case n < 35:
		m.lease()
	case n < 55:
		m.connect()
	case n < 65:
		m.accept()
	case n < 80:
		if len(m.leases) > 0 {
			m.close(pickOne(m.rand, m.leases))
		}
	case n < 85:
		if len(m.waits) > 0 {
			pickOne(m.rand, m.waits).cancel()
		}
	default:
		for range m.rand.IntN(30) {
			m.pass(modelTick)
			m.settle()
		}
	}
	synctest.Wait()
	m.settle()
}

func (m *model) lease() {
	m.owner++
	r := Request{
		Local: local,
		Ports: pickOne(m.rand, modelRanges),
		Peer:  pickOne(m.rand, modelPeers),
		Owner: m.owner,
		Hold:  m.rand.IntN(4) == 0,
	}
	if m.rand.IntN(5) == 0 {
		r.Others = []netip.Prefix{pickOne(m.rand, modelPeers)}
	}
	if len(m.kept) > 0 && m.rand.IntN(3) == 0 {
		k := pickOne(m.rand, m.kept)
		r.Owner, r.Peer, r.Others = k.owner, k.peers[0], k.peers[1:]
	}
	limit := time.Duration(m.rand.IntN(160)) * modelTick
	m.waits = append(m.waits, &modelWait{wait: m.wait(r, limit), request: r, begin: m.at()})
}

// connect dials some port from some address. Who should get the connection is
// known before.
func (m *model) connect() {
	from := pickOne(m.rand, modelPeers).Addr()
	for range m.rand.IntN(4) {
		from = from.Next()
	}
	addr := netip.AddrPortFrom(local, 40000+uint16(m.rand.IntN(4)))
	var mine *modelLease
	listens := false
	for _, l := range m.leases {
		if l.pending() && l.Addr() == addr {
			listens = true
			if slices.ContainsFunc(peersOf(l.request), func(p netip.Prefix) bool { return p.Contains(from) }) {
				mine = l
			}
		}
	}
	conn := m.net.dial(from, addr)
	synctest.Wait()
	if listens != (conn != nil) {
		m.Errorf("%v: connection to %v made %v; want %v", m.at(), addr, conn != nil, listens)
		return
	}
	if mine != nil {
		mine.conn = conn
		m.used[conn] = true
	} else if conn != nil && conn.closes() != 1 {
		m.Errorf("%v: stranger %v at %v was closed %d times", m.at(), from, addr, conn.closes())
	}
}

func (m *model) accept() {
	if len(m.leases) == 0 {
		return
	}
	l := pickOne(m.rand, m.leases)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	conn, err := l.Accept(ctx)
	switch {
	case l.over || l.taken:
		if conn != nil || !errors.Is(err, ErrClosed) && !errors.Is(err, ErrExpired) {
			m.Errorf("%v: Accept of a lease that is over: %v, %v", m.at(), conn, err)
		}
	case l.conn != nil:
		if conn != net.Conn(l.conn) {
			m.Errorf("%v: Accept = %v, %v; want the connection from %v", m.at(), conn, err, l.conn.remote)
		}
		l.taken = true
	case !errors.Is(err, context.Canceled):
		m.Errorf("%v: Accept of a pending lease = %v, %v", m.at(), conn, err)
	}
}

func (m *model) close(l *modelLease) {
	l.Close()
	if l.pending() {
		m.kept = append(m.kept, keptKey{l.Addr(), peersOf(l.request), l.request.Owner, m.at() + quarantineTime})
	}
	if l.conn != nil && !l.taken && l.conn.closes() != 1 {
		m.Errorf("%v: an untaken connection was closed %d times", m.at(), l.conn.closes())
	}
	l.over = true
	m.leases = slices.DeleteFunc(m.leases, func(o *modelLease) bool { return o == l })
}

// settle notes which waits and leases ended and checks that they should have.
func (m *model) settle() {
	m.settleExpired()
	m.kept = slices.DeleteFunc(m.kept, func(k keptKey) bool { return m.at() >= k.until })
	var left []*modelWait
	for _, w := range m.waits {
		switch {
		case !w.over():
			left = append(left, w)
		case w.err == nil:
			m.lent(w)
		case !errors.Is(w.err, ErrFull):
			m.Errorf("%v: wait ended with %v", m.at(), w.err)
		}
	}
	m.waits = left
	for _, w := range left {
		for n := w.request.Ports.First; n <= w.request.Ports.Last; n++ {
			if addr := netip.AddrPortFrom(local, n); m.isFree(addr, w.request) {
				m.Errorf("%v: %v waits since %v although %d is free", m.at(), w.request, w.begin, n)
			}
		}
	}
	if len(left) > 0 {
		m.checkExpiry(left[0])
	}
	var want []uint16
	for _, l := range m.leases {
		if l.pending() && !slices.Contains(want, l.Addr().Port()) {
			want = append(want, l.Addr().Port())
		}
	}
	slices.Sort(want)
	if open := m.net.listening(); !slices.Equal(open, want) {
		m.Errorf("%v: ports %v listen; want %v", m.at(), open, want)
	}
	for _, addr := range m.net.attempts() {
		if addr.Addr() != local || addr.Port() < 40000 || addr.Port() > 40003 {
			m.Errorf("listened on %v", addr)
		}
	}
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if len(left) == 0 && m.pool.alarm != nil {
		m.Errorf("%v: a timer is set while nobody waits", m.at())
	}
}

// checkExpiry fails if the first who waits could have had a port whose leases
// are all unused and 3 s old, and no port is on its way.
func (m *model) checkExpiry(w *modelWait) {
	old := false
	for n := w.request.Ports.First; n <= w.request.Ports.Last; n++ {
		addr := netip.AddrPortFrom(local, n)
		inTheWay, young := 0, 0
		for _, l := range m.leases {
			if l.lent() && l.Addr() == addr && collide(peersOf(l.request), peersOf(w.request)) {
				inTheWay++
				if !l.pending() || m.at() < l.begin+expireAfter {
					young++
				}
			}
		}
		if inTheWay == 0 {
			return // in quarantine: it comes
		}
		old = old || young == 0
	}
	if old {
		m.Errorf("%v: nothing expires for %v, who waits since %v", m.at(), w.request, w.begin)
	}
}

// settleExpired finds the leases that the pool took back.
func (m *model) settleExpired() {
	for _, l := range slices.Clone(m.leases) {
		if !l.pending() {
			continue
		}
		m.pool.mu.Lock()
		gone := l.state == ended
		m.pool.mu.Unlock()
		if !gone {
			continue
		}
		if _, err := l.Accept(context.Background()); !errors.Is(err, ErrExpired) {
			m.Errorf("%v: a pending lease ended with %v", m.at(), err)
		}
		m.kept = append(m.kept, keptKey{l.Addr(), peersOf(l.request), 0, m.at() + quarantineTime})
		l.over = true
		m.leases = slices.DeleteFunc(m.leases, func(o *modelLease) bool { return o == l })
		wanted := slices.ContainsFunc(m.waits, func(w *modelWait) bool {
			return w.request.Ports.Contains(l.Addr().Port()) && collide(peersOf(w.request), peersOf(l.request))
		})
		if !wanted || m.at()-l.begin < expireAfter && !m.chained(l) {
			m.Errorf("%v: the lease of %v since %v expired, wanted %v", m.at(), l.request, l.begin, wanted)
		}
	}
}

// chained tells whether the lease may count as older than it is, because its
// owner asked more than once.
func (m *model) chained(l *modelLease) bool {
	return l.request.Owner < m.owner && l.since.Sub(m.start) < l.begin
}

func (m *model) lent(w *modelWait) {
	l := &modelLease{Lease: w.lease, request: w.request, begin: w.after}
	addr := l.Addr()
	if addr.Addr() != local || !w.request.Ports.Contains(addr.Port()) {
		m.Errorf("%v: lent %v of %v", m.at(), addr, w.request.Ports)
	}
	for _, o := range m.leases {
		if o.lent() && o.Addr() == addr && collide(peersOf(o.request), peersOf(w.request)) {
			m.Errorf("%v: lent %v to %v while %v has it", m.at(), addr, w.request, o.request)
		}
	}
	for _, k := range m.kept {
		if k.addr == addr && collide(k.peers, peersOf(w.request)) && k.owner != w.request.Owner && w.after < k.until {
			m.Errorf("%v: lent %v to %v in the quarantine of owner %d", m.at(), addr, w.request, k.owner)
		}
	}
	for _, o := range m.waits {
		if o == w {
			break
		}
		if !o.over() && o.request.Ports == w.request.Ports && slices.Equal(peersOf(o.request), peersOf(w.request)) && !m.hadKept(addr, w.request) {
			m.Errorf("%v: %v overtook %v", m.at(), w.request, o.request)
		}
	}
	m.kept = slices.DeleteFunc(m.kept, func(k keptKey) bool {
		return k.addr == addr && collide(k.peers, peersOf(w.request))
	})
	m.leases = append(m.leases, l)
}

// hadKept tells whether r's owner may have taken its own key back.
func (m *model) hadKept(addr netip.AddrPort, r Request) bool {
	return slices.ContainsFunc(m.kept, func(k keptKey) bool {
		return k.addr == addr && k.owner == r.Owner && collide(k.peers, peersOf(r))
	})
}

// isFree tells whether nothing keeps r from addr.
func (m *model) isFree(addr netip.AddrPort, r Request) bool {
	for _, l := range m.leases {
		if l.lent() && l.Addr() == addr && collide(peersOf(l.request), peersOf(r)) {
			return false
		}
	}
	for _, k := range m.kept {
		if k.addr == addr && collide(k.peers, peersOf(r)) {
			return false
		}
	}
	return true
}

// finish closes everything and looks for what is left.
func (m *model) finish() {
	for _, w := range m.waits {
		w.cancel()
		<-w.done
		if w.err == nil {
			w.lease.Close()
		}
	}
	for _, l := range slices.Clone(m.leases) {
		m.close(l)
	}
	m.mustRest()
	for _, c := range m.net.conns {
		if !m.used[c] && c.closes() != 1 {
			m.Errorf("the connection from %v was closed %d times", c.remote, c.closes())
		}
	}
	if u := m.pool.Snapshot(); len(u) > 0 {
		m.Errorf("snapshot %v; want nothing", u)
	}
	m.pass(time.Minute)
	m.must(Request{Local: local, Ports: modelRanges[2], Peer: modelPeers[2], Owner: m.owner + 1}).Close()
}
