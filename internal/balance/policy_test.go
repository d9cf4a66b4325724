package balance

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const picks = 10_000

// spread counts what 10,000 picks give, one after the other, each for its own key.
func spread(t *testing.T, g *Group, hold bool) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for n := range picks {
		l := must(t, g, key(n))
		got[l.Target.Name]++
		if !hold {
			l.Release()
		}
	}
	return got
}

// fits expects counts by weight, as chance gives them. The sum of squares has a chi-square
// distribution, whose 99.9% point is the normal one's by Wilson and Hilferty.
func fits(t *testing.T, got map[string]int, weights []int, n int) {
	t.Helper()
	total := 0
	for _, w := range weights {
		total += w
	}
	chi := 0.0
	for i, w := range weights {
		want := float64(n) * float64(w) / float64(total)
		chi += math.Pow(float64(got[fmt.Sprintf("s%d", i)])-want, 2) / want
	}
	free := float64(len(weights) - 1)
	bound := free * math.Pow(1-2/(9*free)+3.09*math.Sqrt(2/(9*free)), 3)
	if chi > bound {
		t.Errorf("%v by weights %v: chi-square is %.1f; want at most %.1f", got, weights, chi, bound)
	}
}

var weighed = []int{5, 1, 4} // a round is 10 turns

func TestDistributionFirst(t *testing.T) {
	g, _ := group(t, Settings{Policy: First}, targets(weighed...))
	if got := spread(t, g, false); got["s0"] != picks {
		t.Error(got)
	}
}

// Exact: each round of 10 turns gives each server its weight.
func TestDistributionRoundRobin(t *testing.T) {
	for _, hold := range []bool{false, true} {
		g, _ := group(t, Settings{Policy: RoundRobin}, targets(weighed...))
		if got := spread(t, g, hold); got["s0"] != 5000 || got["s1"] != 1000 || got["s2"] != 4000 {
			t.Error(got)
		}
	}
}

// nginx's example: 5, 1, 1 is a a b a c a a, and not a a a a a b c.
func TestRoundRobinIsSmooth(t *testing.T) {
	g, _ := group(t, Settings{Policy: RoundRobin}, targets(5, 1, 1))
	got := ""
	for range 7 {
		got += must(t, g, Key{}).Target.Name + " "
	}
	if want := "s0 s0 s1 s0 s2 s0 s0 "; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

// Exact: sessions that stay are divided by weight, and idle servers are taken in turn, by
// weight as well.
func TestDistributionLeastConn(t *testing.T) {
	for _, hold := range []bool{true, false} {
		g, _ := group(t, Settings{Policy: LeastConn}, targets(weighed...))
		if got := spread(t, g, hold); got["s0"] != 5000 || got["s1"] != 1000 || got["s2"] != 4000 {
			t.Errorf("hold %v: %v", hold, got)
		}
	}
}

// At any time the loads differ by one session at most, with 64 picking at once.
func TestLeastConnIsExact(t *testing.T) {
	g, _ := group(t, Settings{Policy: LeastConn}, equal(7))
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 50 {
				if _, err := g.Pick(t.Context(), Key{}); err != nil {
					t.Error(err)
				}
				low, high := math.MaxInt, 0
				for _, s := range g.Snapshot().Servers {
					low, high = min(low, s.Sessions), max(high, s.Sessions)
				}
				if high-low > 1 {
					t.Errorf("one server has %d sessions, another %d", low, high)
				}
			}
		})
	}
	all.Wait()
}

// Idle servers get what they weigh, by chance.
func TestDistributionRandom(t *testing.T) {
	g, _ := group(t, Settings{Policy: Random}, targets(weighed...))
	fits(t, spread(t, g, false), weighed, picks)
}

// With two choices the fullest of n servers has about ln ln n / ln 2 sessions more than
// the mean: 2 for 10, and some constant. One choice would be sqrt(2·1000·ln 10) = 68 more.
func TestRandomTakesTheLessLoaded(t *testing.T) {
	g, _ := group(t, Settings{Policy: Random}, equal(10))
	for name, n := range spread(t, g, true) {
		if n > picks/10+2+5 {
			t.Errorf("%s has %d sessions", name, n)
		}
	}
}

func TestDistributionHash(t *testing.T) {
	for _, p := range []Policy{Source, User} {
		g, _ := group(t, Settings{Policy: p}, targets(weighed...))
		fits(t, spread(t, g, false), weighed, picks)
		g, _ = group(t, Settings{Policy: p}, equal(20))
		fits(t, spread(t, g, false), slices.Repeat([]int{1}, 20), picks)
	}
}

// homes tells where each key goes.
func homes(t *testing.T, g *Group) []string {
	t.Helper()
	var all []string
	for n := range picks {
		l := must(t, g, key(n))
		all = append(all, l.Target.Name)
		l.Release()
	}
	return all
}

// A server that leaves, by any way, moves its own keys, and by weight to the others; when
// it is back so are they. One that comes takes only what it gets.
func TestHashIsConsistent(t *testing.T) {
	for _, p := range []Policy{Source, User} {
		weights := []int{5, 1, 4, 2}
		g, _ := group(t, Settings{Policy: p}, targets(weights...))
		before := homes(t, g)
		ways := map[string]func(){
			"drained": func() { _ = g.Set("s2", Drain) },
			"removed": func() { _ = g.Set("s2", Up); g.SetTargets(slices.Delete(targets(weights...), 2, 3)) },
		}
		for _, way := range []string{"drained", "removed"} {
			ways[way]()
			moved := make(map[string]int)
			for n, now := range homes(t, g) {
				if before[n] == "s2" {
					moved[now]++
				} else if now != before[n] {
					t.Fatalf("%s, %s: key %d moved from %s to %s", p, way, n, before[n], now)
				}
			}
			sum := moved["s0"] + moved["s1"] + moved["s3"]
			moved["s2"] = moved["s3"]
			fits(t, moved, []int{5, 1, 2}, sum)
		}
		g.SetTargets(targets(weights...))
		if !slices.Equal(homes(t, g), before) {
			t.Error("keys did not return")
		}
		g.SetTargets(targets(5, 1, 4, 2, 3))
		got := make(map[string]int)
		for n, now := range homes(t, g) {
			got[now]++
			if now != before[n] && now != "s4" {
				t.Fatalf("%s: key %d moved from %s to %s", p, n, before[n], now)
			}
		}
		fits(t, got, []int{5, 1, 4, 2, 3}, picks)
	}
}

// A key's server does not depend on the order of the servers, on the process, or on how an
// address is written.
func TestHashKeys(t *testing.T) {
	g, _ := group(t, Settings{Policy: Source}, equal(50))
	pick := func(k Key) string { return must(t, g, k).Target.Name }
	at := func(text string) Key { return Key{Client: netip.MustParseAddr(text)} }
	if a, b := pick(at("192.0.2.1")), pick(at("::ffff:192.0.2.1")); a != b {
		t.Error("an IPv4 address in IPv6 is another key")
	}
	if a, b := pick(at("fe80::1%eth0")), pick(at("fe80::1%eth1")); a != b {
		t.Error("a zone makes another key")
	}
	if got, want := pick(at("192.0.2.1")), "s40"; got != want {
		t.Errorf("the hash is %s; it was %s", got, want)
	}
	before := homes(t, g)
	turned := equal(50)
	slices.Reverse(turned)
	g.SetTargets(turned)
	if !slices.Equal(homes(t, g), before) {
		t.Error("keys depend on the order")
	}
	g.Configure(Settings{Policy: User}, equal(50))
	if a, b := pick(Key{User: "x", Client: netip.MustParseAddr("192.0.2.7")}), pick(Key{User: "x"}); a != b {
		t.Error("a user goes by the address")
	}
	if a := pick(at("192.0.2.1")); a != "s40" {
		t.Error("without a user, the address does not count")
	}
}

// A full server's keys go to their next choice where nobody may wait, and wait for it where
// they may.
func TestHashFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := equal(3)
		for i := range all {
			all[i].Max = 1
		}
		g, _ := group(t, Settings{Policy: User}, all)
		defer g.Close()
		first, second := must(t, g, key(1)), must(t, g, key(1))
		if first.Target == second.Target {
			t.Fatal("more sessions than may be")
		}
		second.Release()
		g.Configure(Settings{Policy: User, Queue: 1}, all)
		got := make(chan *Lease)
		go func() {
			l, _ := g.Pick(t.Context(), key(1))
			got <- l
		}()
		synctest.Wait()
		third := must(t, g, key(1)) // There is no room to wait, so it is the next choice.
		if third.Target != second.Target {
			t.Errorf("the third has %s", third.Target.Name)
		}
		third.Release() // This is not the one that is waited for.
		synctest.Wait()
		if n := g.Snapshot().Waiting; n != 1 {
			t.Fatalf("%d wait", n)
		}
		first.Release()
		if l := <-got; l.Target != first.Target {
			t.Errorf("waited for %s, got %s", first.Target.Name, l.Target.Name)
		}
	})
}

// From the time it is up again the weight grows linearly. At first start it is full.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := group(t, Settings{Policy: RoundRobin, SlowStart: 100 * time.Second}, targets(100, 100))
		defer g.Close()
		if w := status(g, "s0").Weight; w != 100 {
			t.Fatalf("at first start: %v", w)
		}
		_ = g.Set("s0", Down)
		_ = g.Set("s0", Up)
		for _, at := range []struct{ seconds, weight float64 }{{0, 5}, {20, 24}, {50, 52.5}, {99, 99.05}, {100, 100}, {200, 100}} {
			time.Sleep(time.Duration(at.seconds)*time.Second - time.Since(status(g, "s0").Since))
			if w := status(g, "s0").Weight; math.Abs(w-at.weight) > 1e-9 {
				t.Errorf("after %v s the weight is %v; want %v", at.seconds, w, at.weight)
			}
			if at.seconds == 20 { // 24 of 124 turns
				if got := spread(t, g, false)["s0"]; math.Abs(float64(got)-picks*24/124.) > 1 {
					t.Errorf("%d of 10,000 picks", got)
				}
			}
		}
		_ = g.Set("s0", Drain)
		_ = g.Set("s0", Up)
		if w := status(g, "s0").Weight; w != 100 {
			t.Errorf("after drain: %v", w)
		}
	})
}
