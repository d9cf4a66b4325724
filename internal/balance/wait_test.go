package balance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// full is a group of one server that has the one session it may have.
func full(t *testing.T, queue int) (*Group, *Lease) {
	all := equal(1)
	all[0].Max = 1
	g, _ := group(t, Settings{Policy: LeastConn, Queue: queue}, all)
	return g, must(t, g, Key{})
}

// queue has picks wait, in this order. What becomes of them is sent, by their number.
func queue(g *Group, n int, tried ...*Lease) (got chan string, leases chan *Lease) {
	got, leases = make(chan string, n), make(chan *Lease, n)
	for i := range n {
		go func() {
			l, err := g.Pick(context.Background(), Key{}, tried...)
			if err != nil {
				got <- fmt.Sprintf("%d %v", i, err)
				return
			}
			got <- fmt.Sprintf("%d %s", i, l.Target.Name)
			leases <- l
		}()
		synctest.Wait()
	}
	return got, leases
}

// First come, first served; so many wait and no more; one that leaves leaves no gap.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, held := full(t, 4)
		defer g.Close()
		got, leases := queue(g, 2)
		ctx, cancel := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() {
			_, err := g.Pick(ctx, Key{})
			left <- err
		}()
		synctest.Wait()
		more, _ := queue(g, 1)
		refused(t, g, ErrFull)
		gone := errors.New("the client is gone")
		cancel(gone)
		if err := <-left; !errors.Is(err, ErrWaited) || !errors.Is(err, gone) {
			t.Error(err)
		}
		if n := g.Snapshot().Waiting; n != 3 {
			t.Errorf("%d wait", n)
		}
		held.Release()
		for _, want := range []string{"0 s0", "1 s0"} {
			if who := <-got; who != want {
				t.Errorf("served %s; want %s", who, want)
			}
			synctest.Wait()
			if n := status(g, "s0").Sessions; n != 1 {
				t.Fatalf("%d sessions", n)
			}
			(<-leases).Release()
		}
		if who := <-more; who != "0 s0" {
			t.Error(who)
		}
	})
}

func TestNoQueue(t *testing.T) {
	g, _ := full(t, 0)
	refused(t, g, ErrFull)
}

// All that may give somebody a place does so at once.
func TestWaitersAreServed(t *testing.T) {
	all := func(n int) []Target {
		all := equal(n)
		for i := range all {
			all[i].Max = 1
		}
		return all
	}
	for _, tt := range []struct {
		name string
		do   func(*Group, *Lease)
		want string
	}{
		{"a server is added", func(g *Group, _ *Lease) { g.SetTargets(all(2)) }, "s1"},
		{"more sessions may be", func(g *Group, _ *Lease) { g.Configure(Settings{Queue: 9}, equal(1)) }, "s0"},
		{"a failure frees a place", func(_ *Group, l *Lease) { l.Failed("connect", errRefused) }, "s0"},
		{"the server is removed", func(g *Group, _ *Lease) { g.SetTargets(nil) }, ErrDown.Error()},
		{"the server is drained", func(g *Group, _ *Lease) { _ = g.Set("s0", Drain) }, ErrDown.Error()},
		{"the group is closed", func(g *Group, _ *Lease) { _ = g.Close() }, ErrClosed.Error()},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, held := full(t, 9)
			defer g.Close()
			got, _ := queue(g, 1)
			tt.do(g, held)
			synctest.Wait()
			select {
			case who := <-got:
				if who != "0 "+tt.want {
					t.Errorf("%s: %s; want %s", tt.name, who, tt.want)
				}
			default:
				t.Errorf("%s: still waiting", tt.name)
			}
		})
	}
}

// A server comes up, and a spare one is used when the full one goes down.
func TestWaitersAreServedByStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := equal(3)
		all[0].Max, all[2].Tier = 1, 1
		g, _ := group(t, Settings{Queue: 9}, all)
		defer g.Close()
		_ = g.Set("s1", Down)
		must(t, g, Key{})
		got, _ := queue(g, 1) // and not at the spare
		_ = g.Set("s1", Up)
		if who := <-got; who != "0 s1" {
			t.Error(who)
		}
		_ = g.Set("s1", Down)
		got, _ = queue(g, 1)
		_ = g.Set("s0", Drain)
		if who := <-got; who != "0 s2" {
			t.Error(who)
		}
	})
}

// Who waits is the one who tries a server that is down, as soon as it may be tried.
func TestWaiterTriesAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := equal(2)
		all[1].Max = 1
		g, _ := group(t, Settings{Policy: First, Fall: 1, Queue: 9}, all)
		defer g.Close()
		fail(t, g, 1)
		must(t, g, Key{})
		began := time.Now()
		got, leases := queue(g, 2)
		if who := <-got; who != "0 s0" || time.Since(began) != time.Second {
			t.Errorf("%s after %v", who, time.Since(began))
		}
		(<-leases).Failed("connect", errRefused)
		if who := <-got; who != "1 s0" || time.Since(began) != 3*time.Second {
			t.Errorf("%s after %v", who, time.Since(began))
		}
		(<-leases).Greeted(0)
	})
}

// A place that comes when the context has ended is the next one's.
func TestPlaceThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for round := range 200 {
			g, held := full(t, 9)
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error, 1)
			go func() {
				l, err := g.Pick(ctx, Key{})
				if err == nil {
					l.Release()
				}
				first <- err
			}()
			synctest.Wait()
			got, _ := queue(g, 1)
			if round%2 == 0 {
				cancel()
				held.Release()
			} else {
				held.Release()
				cancel()
			}
			if who := <-got; who != "0 s0" {
				t.Error(who)
			}
			if err := <-first; err != nil && !errors.Is(err, ErrWaited) {
				t.Error(err)
			}
			_ = g.Close()
		}
	})
}

// One that tried the free server does not keep others from it.
func TestWaiterThatCannotHaveAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := equal(2)
		all[0].Max, all[1].Max = 1, 1
		g, _ := group(t, Settings{Policy: First, Queue: 9}, all)
		defer g.Close()
		a, b := must(t, g, Key{}), must(t, g, Key{})
		first, _ := queue(g, 1, a) // It waits for b's server.
		second, _ := queue(g, 1)
		a.Release()
		if who := <-second; who != "0 s0" {
			t.Error(who)
		}
		b.Release()
		if who := <-first; who != "0 s1" {
			t.Error(who)
		}
		if !slices.Equal([]int{status(g, "s0").Sessions, status(g, "s1").Sessions}, []int{1, 1}) {
			t.Error("sessions are lost")
		}
	})
}

// One who waits for another server takes its own, when that is down, may be tried, and has
// a place again.
func TestWaiterOfAHashTriesItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := Settings{Policy: User, Fall: 1, Queue: 9}
		g, _ := group(t, settings, equal(2))
		defer g.Close()
		stays, fails := must(t, g, key(1)), must(t, g, key(1))
		fails.Failed("connect", errRefused)
		all := equal(2)
		all[0].Max, all[1].Max = 1, 1
		g.Configure(settings, all)
		other := must(t, g, key(1))
		got := make(chan *Lease)
		go func() {
			l, _ := g.Pick(context.Background(), key(1))
			got <- l
		}()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		stays.Release()
		if l := <-got; l.Target.Name != stays.Target.Name || l.Target.Name == other.Target.Name {
			t.Errorf("%s, and not %s", l.Target.Name, stays.Target.Name)
		}
	})
}
