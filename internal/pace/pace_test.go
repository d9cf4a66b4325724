package pace

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A flow is a transfer whose kernel keeps the rate exactly, after a burst that it
// sends whatever the rate. It sends no more than capacity, in bytes per second,
// from the time it has joined.
type flow struct {
	mu       sync.Mutex
	capacity float64
	began    bool
	burst    float64
	size     float64 // 0: without end
	lump     float64 // bytes are acknowledged in such packets
	late     float64 // the part of its rate that a busy machine loses
	rate     int64
	told     int // calls of SetRate
	fails    error
	sent     float64
	at       time.Time
}

func newFlow(capacity float64) *flow { return &flow{capacity: capacity} }

var boundless = math.Inf(1)

// wire is what a flow without any limit sends.
const wire = 1e12

func (f *flow) advance() {
	if !f.began {
		return
	}
	now := time.Now()
	elapsed := now.Sub(f.at).Seconds()
	f.at = now
	can := min(f.capacity, wire) * elapsed
	if f.rate > 0 {
		can = min(can, max(f.burst-f.sent, float64(f.rate)*elapsed*(1-f.late)))
	}
	f.sent += can
	if f.size > 0 {
		f.sent = min(f.sent, f.size)
	}
}

func (f *flow) Acked() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance()
	if f.lump > 0 && (f.size == 0 || f.sent < f.size) {
		return int64(f.sent - math.Mod(f.sent, f.lump))
	}
	return int64(f.sent)
}

func (f *flow) Packet() int { return max(2*1448, int(f.lump)) }

func (f *flow) SetRate(rate int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	f.advance()
	f.rate = rate
	f.told++
	return nil
}

// can changes what the flow's peers are able to take and give.
func (f *flow) can(capacity float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance()
	f.capacity = capacity
}

func (f *flow) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.began, f.at = true, time.Now()
}

func (f *flow) now() (rate int64, told int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rate, f.told
}

func (f *flow) total() float64 { return float64(f.Acked()) }

func join(t testing.TB, s *Set, f *flow, shares ...*Share) (leave func()) {
	t.Helper()
	leave, err := s.Join(context.Background(), f, shares...)
	if err != nil {
		t.Fatal(err)
	}
	f.begin()
	return leave
}

// moved lets time pass and returns what each flow moved in it, in bytes per second.
func moved(d time.Duration, flows ...*flow) []float64 {
	before := make([]float64, len(flows))
	for i, f := range flows {
		before[i] = f.total()
	}
	time.Sleep(d)
	rates := make([]float64, len(flows))
	for i, f := range flows {
		rates[i] = (f.total() - before[i]) / d.Seconds()
	}
	return rates
}

func near(t testing.TB, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > want*tolerance {
		t.Errorf("%s: %.0f bytes/s; want %.0f", what, got, want)
	}
}

// resting reports whether no timer runs.
func (s *Set) resting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ticking && len(s.members) == 0
}

// limits are from a modem's to more than any network card's.
var limits = []int64{1000, 100_000, 2_000_000, 100_000_000, 50_000_000_000}

func TestEqualParts(t *testing.T) {
	for _, limit := range limits {
		for _, k := range []int{1, 2, 3, 10} {
			synctest.Test(t, func(t *testing.T) {
				var s Set
				h := s.NewShare(limit)
				var flows []*flow
				for range k {
					f := newFlow(boundless)
					defer join(t, &s, f, h)()
					flows = append(flows, f)
				}
				moved(5*time.Minute, flows...) // what was lent is repaid
				for _, rate := range moved(10*time.Second, flows...) {
					near(t, "a part", rate, float64(limit)/float64(k), 0.05)
				}
			})
		}
	}
}

// What a slow transfer leaves is used by the others, without a loss.
func TestRestIsUsed(t *testing.T) {
	for _, limit := range limits[1:] {
		synctest.Test(t, func(t *testing.T) {
			var s Set
			h := s.NewShare(limit)
			l := float64(limit)
			slow, still, a, b := newFlow(l/10), newFlow(0), newFlow(boundless), newFlow(boundless)
			for _, f := range []*flow{slow, still, a, b} {
				defer join(t, &s, f, h)()
			}
			moved(20*time.Second, a)
			rates := moved(10*time.Second, slow, still, a, b)
			near(t, "the slow one", rates[0], l/10, 0.01)
			near(t, "the others", rates[2], 0.45*l, 0.05)
			near(t, "the others", rates[3], 0.45*l, 0.05)
			near(t, "all", rates[0]+rates[2]+rates[3], l, 0.05)
		})
	}
}

// At a low rate, too, it shows in time that a transfer stands still.
func TestRestIsUsedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(2000)
		busy, still := newFlow(boundless), newFlow(0)
		defer join(t, &s, busy, h)()
		moved(time.Minute, busy)
		defer join(t, &s, still, h)()
		moved(longestWindow+20*time.Second, busy) // what was lent to it is repaid by then
		near(t, "the busy one", moved(5*time.Second, busy)[0], 2000, 0.1)
	})
}

// Whoever could not use its part gets it as soon as it can, also where packets are
// large because the peer is near.
func TestSlowBecomesHungry(t *testing.T) {
	for _, lump := range []float64{0, 64 << 10} {
		synctest.Test(t, func(t *testing.T) {
			var s Set
			h := s.NewShare(1_000_000)
			a, b, still := newFlow(boundless), newFlow(boundless), newFlow(0)
			for _, f := range []*flow{a, b, still} {
				f.lump = lump
				defer join(t, &s, f, h)()
			}
			moved(30*time.Second, a)
			still.can(boundless)
			moved(6*time.Second, a)
			for _, rate := range moved(20*time.Second, a, b, still) {
				near(t, "a third", rate, 333_333, 0.05)
			}
		})
	}
}

// No member binds: nobody is held near what it happens to use.
func TestRoomWhenNobodyIsHungry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(1_000_000)
		a, b := newFlow(100_000), newFlow(200_000)
		defer join(t, &s, a, h)()
		defer join(t, &s, b, h)()
		moved(10*time.Second, a)
		for _, f := range []*flow{a, b} {
			if rate, _ := f.now(); rate < 400_000 {
				t.Errorf("offered %d bytes/s, and 700000 are left", rate)
			}
		}
	})
}

func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(900_000)
		a, b, c := newFlow(boundless), newFlow(boundless), newFlow(boundless)
		defer join(t, &s, a, h)()
		leaveB, leaveC := join(t, &s, b, h), join(t, &s, c, h)
		moved(10*time.Second+interval/2, a) // no tick is under way
		leaveB()
		leaveB()
		b.can(0)
		if rate, _ := a.now(); rate < 430_000 {
			t.Errorf("one left and %d bytes/s are offered, want 450000 at once", rate)
		}
		leaveC()
		c.can(0)
		if rate, _ := a.now(); rate < 870_000 {
			t.Errorf("all left and %d bytes/s are offered, want 900000 at once", rate)
		}
		near(t, "the one that stays", moved(10*time.Second, a)[0], 900_000, 0.05)
	})
}

func TestTwoShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		front, back, session := s.NewShare(1_000_000), s.NewShare(300_000), s.NewShare(50_000)
		x, y, z, w := newFlow(boundless), newFlow(boundless), newFlow(boundless), newFlow(boundless)
		defer join(t, &s, x, front)()
		defer join(t, &s, y, front, back)()
		defer join(t, &s, z, nil, back, back)()
		defer join(t, &s, w, session, front, nil)()
		moved(20*time.Second, x)
		rates := moved(10*time.Second, x, y, z, w)
		for i, want := range []float64{800_000, 150_000, 150_000, 50_000} {
			near(t, "a flow", rates[i], want, 0.05)
		}
	})
}

func TestLimitChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.Share("web")
		if s.Share("web") != h || s.Share("other") == h {
			t.Error("a name is not a share")
		}
		a, b := newFlow(5e8), newFlow(5e8)
		defer join(t, &s, a, h, s.Share("unlimited"))()
		defer join(t, &s, b, h)()
		near(t, "no limit", moved(time.Second, a)[0], 5e8, 0.01)
		if _, told := a.now(); told != 0 || s.timer != nil {
			t.Errorf("%d rates told; want nothing without a limit", told)
		}
		for _, limit := range []int64{1_000_000, 10_000_000, 50_000, 200_000_000, 0, 400_000} {
			s.SetLimits(map[string]int64{"web": limit})
			part := float64(limit) / 2
			if limit == 0 {
				part = 5e8
			}
			moved(5*time.Second, a)
			for _, rate := range moved(10*time.Second, a, b) {
				near(t, "after the change", rate, part, 0.05)
			}
		}
		time.Sleep(interval / 2) // no tick is under way
		s.SetLimits(nil)
		s.mu.Lock()
		ticking := s.ticking
		s.mu.Unlock()
		if rate, _ := a.now(); rate != 0 || ticking {
			t.Errorf("the rate is %d, timer %t; want no limit", rate, ticking)
		}
	})
}

// The limit holds from the first byte on, although the kernel does not pace the
// first ten segments. On loopback those are of 64 KiB.
func TestInitialBurst(t *testing.T) {
	for _, burst := range []float64{10 * 1448, 10 * 65483} {
		limit := max(burst/7, 10_000)
		synctest.Test(t, func(t *testing.T) {
			var s Set
			f := newFlow(boundless)
			f.burst = burst
			defer join(t, &s, f, s.NewShare(int64(limit)))()
			time.Sleep(10 * time.Second)
			near(t, "ten seconds", f.total()/10, limit, 0.05)
		})
	}
}

// A machine that sends each packet a little late reaches the limit nevertheless.
func TestLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(100_000_000)
		a, b := newFlow(boundless), newFlow(boundless)
		a.late, b.late = 0.08, 0.08
		defer join(t, &s, a, h)()
		defer join(t, &s, b, h)()
		rates := moved(10*time.Second, a, b)
		near(t, "both", rates[0]+rates[1], 100_000_000, 0.02)
	})
}

// Files so small that the kernel paces nothing of them, one after the other and many
// at once, are limited nevertheless.
func TestSmallFiles(t *testing.T) {
	for _, sessions := range []int{1, 30} {
		synctest.Test(t, func(t *testing.T) {
			const limit, size, least = 100_000, 8000, 20 * time.Second
			var (
				s     Set
				group sync.WaitGroup
				mu    sync.Mutex
				all   float64
			)
			h := s.NewShare(limit)
			began := time.Now()
			for range sessions {
				group.Go(func() {
					for time.Since(began) < least {
						f := newFlow(boundless)
						f.burst, f.size = size, size
						leave := join(t, &s, f, h)
						time.Sleep(time.Millisecond)
						leave()
						mu.Lock()
						all += f.total()
						mu.Unlock()
					}
				})
			}
			group.Wait()
			near(t, "many files", all/time.Since(began).Seconds(), limit, 0.05)
		})
	}
}

func TestJoinEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(1000)
		enough := errors.New("enough")

		broken := newFlow(boundless)
		broken.fails = errors.ErrUnsupported
		leave, err := s.Join(t.Context(), broken, h)
		leave()
		if !errors.Is(err, errors.ErrUnsupported) || len(h.members) != 0 || !s.resting() {
			t.Errorf("Join of what cannot be paced = %v, and it is a member", err)
		}

		big := newFlow(boundless)
		big.burst = 60_000
		leave = join(t, &s, big, h)
		time.Sleep(time.Second)
		leave()
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(enough) })
		began := time.Now()
		leave, err = s.Join(ctx, newFlow(boundless), h)
		leave()
		if took := time.Since(began); err != enough || took != time.Second {
			t.Errorf("Join during a debt = %v after %v; want the cause of ctx after 1 s", err, took)
		}
		began = time.Now()
		leave = join(t, &s, newFlow(boundless), h)
		leave()
		if took := time.Since(began); took != mostWait {
			t.Errorf("a debt of a minute delays a transfer by %v, want %v", took, mostWait)
		}
	})
}

// A transfer whose conn closes while others join does not disturb them.
func TestSetRateFailsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(1_000_000)
		gone := newFlow(boundless)
		leave := join(t, &s, gone, h)
		gone.can(0)
		gone.mu.Lock()
		gone.fails = errors.New("closed")
		gone.mu.Unlock()
		f := newFlow(boundless)
		defer join(t, &s, f, h)()
		leave()
		moved(time.Second, f)
		near(t, "the other", moved(10*time.Second, f)[0], 1_000_000, 0.05)
	})
}

// A rate is told when it changes by more than 1 %, not at each tick.
func TestSteadyRatesAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(1_000_000)
		a, b := newFlow(boundless), newFlow(200_000)
		b.lump = 2 * 1448 // what it seems to use is never twice the same
		defer join(t, &s, a, h)()
		defer join(t, &s, b, h)()
		moved(20*time.Second, a)
		_, before := a.now()
		moved(time.Minute, a)
		if _, told := a.now(); told-before > 60 {
			t.Errorf("a steady rate was told %d times in a minute", told-before)
		}
	})
}

// No transfer, no timer; and nothing is lost by resting.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		h := s.NewShare(1_000_000)
		for range 3 {
			leave := join(t, &s, newFlow(boundless), h)
			if s.resting() {
				t.Error("no timer with a transfer")
			}
			time.Sleep(5 * interval / 2) // no tick is under way
			leave()
			if !s.resting() || len(h.members) != 0 {
				t.Errorf("%d and %d members, or a timer; want nothing at rest", len(s.members), len(h.members))
			}
			time.Sleep(time.Hour)
		}
	})
}

// Packets that come in lumps do not make a transfer seem slow for good.
func TestLumps(t *testing.T) {
	for _, limit := range []int64{2000, 7000, 20_000, 400_000} {
		synctest.Test(t, func(t *testing.T) {
			var s Set
			h := s.NewShare(limit)
			a, b := newFlow(boundless), newFlow(boundless)
			a.lump, b.lump = 2*1448, 2*1448
			defer join(t, &s, a, h)()
			defer join(t, &s, b, h)()
			moved(time.Minute, a)
			for _, rate := range moved(2*time.Minute, a, b) {
				near(t, "half", rate, float64(limit)/2, 0.05)
			}
		})
	}
}

// A debt lowers what is given out, but not below a quarter, and a single packet is no
// debt where packets are further apart than ticks.
func TestAvailable(t *testing.T) {
	for _, tt := range []struct{ limit, debt, packet, want float64 }{
		{10_000, 0, 2896, 10_000},
		{10_000, -1000, 2896, 10_500},
		{10_000, -5000, 2896, 11_000},
		{10_000, -5000, 14_480, 10_000},
		{10_000, 4000, 2896, 8000},
		{10_000, 1e6, 2896, 2500},
		{10_000, 9480, 14_480, 10_000},
		{10_000, 13_480, 14_480, 8000},
		{1_000_000, 200_000, 65_536, 900_000},
	} {
		h := &Share{limit: tt.limit}
		h.debt, h.packet = tt.debt, int64(tt.packet)
		if got := h.available(); got != tt.want {
			t.Errorf("limit %.0f, debt %.0f, packets of %.0f: %.0f available, want %.0f", tt.limit, tt.debt, tt.packet, got, tt.want)
		}
	}
}

// Transfers of all kinds come and go. No share moves more than its limit, those that
// are busy move no less, and no hungry transfer starves.
func TestRandomTransfers(t *testing.T) {
	for range 15 {
		seed := rand.Uint64()
		synctest.Test(t, func(t *testing.T) {
			t.Logf("seed %d", seed)
			random(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

type running struct {
	*flow
	shares []*Share
	leave  func()
}

func random(t *testing.T, r *rand.Rand) {
	var s Set
	shares := make([]*Share, 1+r.IntN(4))
	for i := range shares {
		shares[i] = s.NewShare(int64(math.Pow(10, 5+3*r.Float64())))
	}
	counted := map[*Share]float64{}
	var all []*running
	count := func(f *running, sign float64) {
		for _, h := range f.shares {
			counted[h] += sign * f.total()
		}
	}
	start := func() {
		f := &running{flow: newFlow(boundless)}
		if r.IntN(2) == 0 {
			f.capacity = math.Pow(10, 3+5*r.Float64())
		}
		f.burst = 10 * 1448
		for _, h := range shares {
			if r.IntN(2) == 0 {
				f.shares = append(f.shares, h)
			}
		}
		if len(f.shares) == 0 {
			f.shares = shares[:1]
		}
		f.leave = join(t, &s, f.flow, f.shares...)
		all = append(all, f)
	}
	stop := func() {
		i := r.IntN(len(all))
		all[i].can(0)
		all[i].leave()
		count(all[i], 1)
		all = append(all[:i], all[i+1:]...)
	}
	for range 60 {
		before := map[*Share]float64{}
		for _, f := range all {
			count(f, 1)
		}
		for _, h := range shares {
			before[h] = counted[h]
		}
		for _, f := range all {
			count(f, -1)
		}
		began := time.Now()
		quiet := r.IntN(3) == 0
		if quiet {
			var starts []float64
			time.Sleep(5 * time.Second) // rates find their place
			for _, f := range all {
				starts = append(starts, f.total())
			}
			time.Sleep(10 * time.Second)
			fair(t, all, starts, 10)
		}
		for time.Since(began) < 15*time.Second {
			time.Sleep(time.Duration(r.Int64N(int64(time.Second))))
			if len(all) > 0 && r.IntN(2) == 0 || len(all) > 20 {
				stop()
			} else {
				start()
			}
		}
		elapsed := time.Since(began).Seconds()
		for _, f := range all {
			count(f, 1)
		}
		for _, h := range shares {
			n, most := counted[h]-before[h], h.limit*(1.05*elapsed+patience.Seconds())+advance
			if n > most {
				t.Fatalf("%.0f bytes in %.1f s through a limit of %.0f", n, elapsed, h.limit)
			}
		}
		for _, f := range all {
			count(f, -1)
		}
	}
	for len(all) > 0 {
		stop()
	}
	time.Sleep(interval)
	if !s.resting() {
		t.Error("the timer goes on")
	}
}

// fair tells whether each transfer moved what max-min fairness gives it: all it can,
// or else no less than any other in a share that is used up.
func fair(t *testing.T, all []*running, starts []float64, seconds float64) {
	rates := map[*running]float64{}
	use, most := map[*Share]float64{}, map[*Share]float64{}
	for i, f := range all {
		rates[f] = (f.total() - starts[i]) / seconds
		for _, h := range f.shares {
			use[h] += rates[f]
			most[h] = max(most[h], rates[f])
		}
	}
	for _, f := range all {
		if rates[f] >= 0.9*f.capacity {
			continue
		}
		bound := false
		for _, h := range f.shares {
			bound = bound || use[h] >= 0.9*h.limit && rates[f] >= 0.75*most[h]
		}
		if !bound {
			t.Errorf("a transfer moved %.0f of %.0f bytes/s", rates[f], f.capacity)
			for _, h := range f.shares {
				t.Logf("limit %.0f used %.0f most %.0f members %d", h.limit, use[h], most[h], len(h.members))
			}
		}
	}
}
