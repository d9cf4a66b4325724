package portpool

import (
	"cmp"
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "run the model test with this seed only, and print what happens")
	modelRuns  = flag.Int("model.runs", 30, "how many runs of the model test")
	modelOnly  = flag.String("model.only", "", "report only faults of the invariants whose names contain this, to see what a mutation of the pool leads to")
	modelBrief = flag.Bool("model.pipelined", false, "let sessions take a command for one that moves on although it cannot be an answer to the last reply, or is ABOR or NOOP: the model finds what that breaks")
)

// TestModel simulates clients, servers, relays, sessions and a network that is
// against them, and looks for a connection at the wrong session.
func TestModel(t *testing.T) {
	defer func() { intN = rand.IntN }()
	var total tally
	for i := range *modelRuns {
		seed := rand.Uint64()
		if *modelSeed != 0 {
			if seed = *modelSeed; i > 0 {
				break
			}
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			w.play()
			total.add(w.tally)
		})
	}
	t.Logf("%v", total)
}

// A tally counts what was simulated.
type tally struct {
	runs, sessions, promises, attempts, served, reset, retries, redials, waits, full, evicted, withheld int
	simulated                                                                                           time.Duration
}

func (a *tally) add(b tally) {
	a.runs++
	a.sessions += b.sessions
	a.promises += b.promises
	a.attempts += b.attempts
	a.served += b.served
	a.reset += b.reset
	a.retries += b.retries
	a.redials += b.redials
	a.waits += b.waits
	a.full += b.full
	a.evicted += b.evicted
	a.withheld += b.withheld
	a.simulated += b.simulated
}

func (a tally) String() string {
	return fmt.Sprintf("%d runs of %v: %d sessions, %d promises, %d connections (%d of them retries, and %d by relays), %d served, %d reset, %d requests, %d full, %d evicted, %d withheld",
		a.runs, a.simulated.Round(time.Minute), a.sessions, a.promises, a.attempts, a.retries, a.redials, a.served, a.reset, a.waits, a.full, a.evicted, a.withheld)
}

// A world is one simulation. Its events happen one after the other on one
// goroutine; what the pool does on its own posts them.
type world struct {
	*testing.T
	NoEvents
	seed  uint64
	rand  *rand.Rand
	pool  *Pool
	start time.Time
	end   time.Duration // no client begins anything after it
	tally tally
	trace []string

	events eventHeap
	turn   int
	wake   chan struct{}

	mu        sync.Mutex // guards what the pool calls
	posted    []posted
	listeners map[netip.AddrPort]*modelListener

	local    netip.Addr // by configuration; a reload changes it
	ports    Range
	sessions map[*session]struct{}
	servers  map[*serverSession]struct{}
	owners   uint64
	ledger   []*promise
	requests []*modelWait // first come first
	conns    []*modelConn
}

type event struct {
	at   time.Time
	turn int
	do   func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].turn < h[j].turn
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(e any)   { *h = append(*h, e.(event)) }
func (h *eventHeap) Pop() any {
	e := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return e
}

var (
	addressX = netip.MustParseAddr("192.0.2.1")
	addressY = netip.MustParseAddr("192.0.2.2")
)

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 7)), start: time.Now(),
		wake: make(chan struct{}, 1), listeners: make(map[netip.AddrPort]*modelListener),
		sessions: make(map[*session]struct{}), servers: make(map[*serverSession]struct{}),
		local: addressX,
	}
	random := rand.New(rand.NewPCG(seed, 8))
	intN = func(n int) int { return random.IntN(n) } // called with the pool locked
	w.pool = New(Options{Listen: w.listen, Born: func(c net.Conn) time.Time { return c.(*modelConn).looksBorn }, Events: w})
	w.ports = Range{40000, 40000 + uint16(w.rand.IntN(3))}
	w.end = time.Duration(w.between(10, 240)) * time.Minute
	return w
}

func (w *world) at() time.Duration { return time.Since(w.start) }

// note keeps what happened, for the one who has to understand a failure.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%12v  ", w.at().Round(time.Microsecond)) + fmt.Sprintf(format, args...)
	if w.trace = append(w.trace, line); len(w.trace) > 4000 {
		w.trace = w.trace[2000:]
	}
}

// fault is a broken invariant.
func (w *world) fault(invariant, format string, args ...any) {
	w.Helper()
	if w.Failed() || !strings.Contains(invariant, *modelOnly) {
		return
	}
	text := fmt.Sprintf(format, args...)
	w.note("FAULT %s: %s", invariant, text)
	last := w.trace
	if *modelSeed == 0 && len(last) > 300 {
		last = last[len(last)-300:]
	}
	w.Errorf("%v: %s: %s\n%s\nrun again with -model.seed=%d", w.at(), invariant, text, strings.Join(last, "\n"), w.seed)
}

// chance is true in percent of the cases.
func (w *world) chance(percent int) bool { return w.rand.IntN(100) < percent }

func (w *world) between(a, b int) int { return a + w.rand.IntN(b-a+1) }

// span is a random time of up to d.
func (w *world) span(d time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(d) + 1))
}

// delay is how long a packet is under way.
func (w *world) delay() time.Duration {
	switch n := w.rand.IntN(100); {
	case n < 75:
		return time.Millisecond + w.span(30*time.Millisecond)
	case n < 95:
		return time.Millisecond + w.span(300*time.Millisecond)
	}
	return time.Millisecond + w.span(900*time.Millisecond)
}

// after does something later.
func (w *world) after(d time.Duration, do func()) {
	w.turn++
	heap.Push(&w.events, event{time.Now().Add(d), w.turn, do})
}

// A posted thing is done as soon as nothing moves, in the order of the numbers.
type posted struct {
	number int
	do     func()
}

// post is after for the goroutines of the pool, whose number is 0, and for those that
// wait for it.
func (w *world) post(number int, do func()) {
	w.mu.Lock()
	w.posted = append(w.posted, posted{number, do})
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// play runs the world to its end.
func (w *world) play() {
	defer w.pool.Close()
	for range w.between(4, 14) {
		w.after(w.span(30*time.Second), func() { w.arriveClient() })
	}
	for range w.rand.IntN(4) {
		w.after(w.span(30*time.Second), func() { w.arriveServer() })
	}
	if w.chance(50) {
		w.after(w.span(time.Minute), w.reload)
	}
	if w.chance(30) {
		w.after(w.span(time.Minute), w.stranger)
	}
	w.run(w.end)
	for s := range w.sessions {
		s.lost()
	}
	for s := range w.servers {
		s.lost()
	}
	w.run(w.end + Long + Short + 100*time.Millisecond)
	w.rest()
	w.tally.simulated = w.at()
}

// run lets everything happen that is due before the given time.
func (w *world) run(until time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !w.Failed() {
		w.settle()
		at := w.start.Add(until)
		if len(w.events) > 0 && w.events[0].at.Before(at) {
			at = w.events[0].at
		}
		if now := time.Now(); now.Before(at) {
			timer.Reset(at.Sub(now))
			select {
			case <-timer.C:
			case <-w.wake:
			}
			continue
		}
		if len(w.events) == 0 || w.events[0].at.After(at) {
			if w.at() >= until {
				return
			}
			continue
		}
		heap.Pop(&w.events).(event).do()
	}
}

// settle waits until nothing moves, does what was posted, and looks for faults.
func (w *world) settle() {
	for {
		synctest.Wait()
		w.mu.Lock()
		all := w.posted
		w.posted = nil
		w.mu.Unlock()
		if len(all) == 0 {
			break
		}
		slices.SortStableFunc(all, func(a, b posted) int { return cmp.Compare(a.number, b.number) })
		for _, p := range all {
			p.do()
		}
	}
	w.checkWaiters()
}

// reload changes between one address and all of them.
func (w *world) reload() {
	if w.local.IsUnspecified() {
		w.local = addressX
	} else {
		w.local = netip.IPv4Unspecified()
	}
	w.note("reload: %v", w.local)
	w.after(10*time.Second+w.span(5*time.Minute), w.reload)
}

// stranger connects from an address that nobody expects.
func (w *world) stranger() {
	a := &attempt{world: w, from: netip.MustParseAddr("198.51.100.200"), to: netip.AddrPortFrom(addressX, w.ports.First)}
	a.open()
	w.after(2*time.Second, a.close)
	w.after(w.span(time.Minute), w.stranger)
}

// The pool's events that the model counts.
func (w *world) Ambiguous(local netip.AddrPort, peer netip.Addr) {
	w.post(0, func() { w.fault("never ambiguous", "%v from %v", local, peer) })
}
func (w *world) Evicted(Request) { w.post(0, func() { w.tally.evicted++ }) }
func (w *world) Full(Request)    { w.post(0, func() { w.tally.full++ }) }

// rest fails unless the pool is at rest.
func (w *world) rest() {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	if w.Failed() {
		return
	}
	p := w.pool
	switch {
	case len(p.numbers) > 0:
		w.fault("nothing is left", "%d ports", len(p.numbers))
	case p.alarm != nil:
		w.fault("nothing is left", "a timer")
	case len(w.listeners) > 0:
		w.fault("nothing is left", "%d listeners", len(w.listeners))
	case p.waiting > 0 || len(p.queues.cells) > 0 || len(p.debts.cells) > 0 || len(p.untaken) > 0 || len(p.headers) > 0:
		w.fault("nothing is left", "somebody waits or owes")
	case p.idle.Len() != len(p.scopes):
		w.fault("nothing is left", "%d scopes, %d idle", len(p.scopes), p.idle.Len())
	}
	for _, c := range w.conns {
		if n := c.closes(); n > 1 || n == 0 && c.reached {
			w.fault("each connection is closed once", "%v was closed %d times", c, n)
		}
	}
}
