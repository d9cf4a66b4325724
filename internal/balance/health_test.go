package balance

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A server that failed three times in a row is not tried by every session. One pick per
// pause tries it, and the pause doubles while others are up.
func TestDeadServerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := group(t, Settings{Policy: First}, equal(2))
		defer g.Close()
		var tries []int
		began := time.Now()
		for range 1200 { // ten sessions in a second
			l := must(t, g, Key{})
			if l.Target.Name == "s0" {
				tries = append(tries, int(time.Since(began)/time.Second))
				l.Failed("connect", errRefused)
				l = must(t, g, Key{}, l)
			}
			l.Greeted(0)
			l.Release()
			time.Sleep(100 * time.Millisecond)
		}
		// Doubted it is tried each second; after the third time it is down.
		if want := []int{0, 1, 2, 3, 5, 9, 17, 33, 63, 93}; !slices.Equal(tries, want) {
			t.Errorf("tried at %v; want %v", tries, want)
		}
		events(t, log, "s0 down session")
		for { // It lives again.
			l := must(t, g, Key{})
			l.Greeted(0)
			if l.Target.Name == "s0" {
				break
			}
			l.Release()
			time.Sleep(time.Second)
		}
		events(t, log, "s0 up session")
	})
}

// A single server that is down refuses everybody at once, but lets one in each second.
func TestSingleServerHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := group(t, Settings{}, equal(1))
		defer g.Close()
		fail(t, g, 2)
		must(t, g, Key{}).Greeted(0) // Not three in a row.
		fail(t, g, 3)
		events(t, log, "s0 down session", "usable false")
		for range 10 {
			refused(t, g, ErrDown)
			time.Sleep(999 * time.Millisecond)
			refused(t, g, ErrDown)
			time.Sleep(time.Millisecond)
			l := must(t, g, Key{})
			refused(t, g, ErrDown) // while the first one tries
			time.Sleep(time.Minute)
			refused(t, g, ErrDown)
			l.Failed("greeting", errRefused)
		}
		time.Sleep(time.Second)
		l := must(t, g, Key{})
		l.Release() // The client left. That says nothing, so the next one may try at once.
		l = must(t, g, Key{})
		refused(t, g, ErrDown)
		l.Greeted(0)
		must(t, g, Key{})
		must(t, g, Key{})
		events(t, log, "s0 up session", "usable true")
	})
}

// A session's own cancellation is no failure.
func TestReleaseIsNoVerdict(t *testing.T) {
	g, log := group(t, Settings{}, equal(1))
	for range 10 {
		l := must(t, g, Key{})
		l.Release()
		l.Failed("connect", errRefused) // too late
	}
	if s := status(g, "s0"); s.Doubted || s.Sessions != 0 || len(s.Failures) != 0 {
		t.Errorf("%+v", s)
	}
	events(t, log)
}

// Failures of sessions that were picked before a server came up again do not take it down.
func TestOldFailuresDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := group(t, Settings{}, equal(1))
		defer g.Close()
		var old []*Lease
		for range 10 {
			old = append(old, must(t, g, Key{}))
		}
		fail(t, g, 3)
		time.Sleep(time.Second)
		must(t, g, Key{}).Greeted(0)
		for _, l := range old {
			l.Failed("connect", errRefused)
		}
		events(t, log, "s0 down session", "usable false", "s0 up session", "usable true")
		if n := status(g, "s0").Failures["connect"]; n != 13 {
			t.Errorf("%d failures", n)
		}
	})
}

// One that failed is taken after the others of its tier, but before the next tier, and
// after a second one pick at a time treats it like the others.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := equal(3)
		all[2].Tier = 1
		g, log := group(t, Settings{Policy: First}, all)
		defer g.Close()
		a := must(t, g, Key{})
		a.Failed("connect", errRefused)
		if !status(g, "s0").Doubted {
			t.Error("not doubted")
		}
		b := must(t, g, Key{})
		c := must(t, g, Key{}, b)
		if b.Target.Name != "s1" || c.Target.Name != "s0" {
			t.Errorf("picked %s, then %s", b.Target.Name, c.Target.Name)
		}
		time.Sleep(time.Second)
		trial, other := must(t, g, Key{}), must(t, g, Key{})
		if trial.Target.Name != "s0" || other.Target.Name != "s1" {
			t.Errorf("after a second: %s, then %s", trial.Target.Name, other.Target.Name)
		}
		trial.Greeted(0)
		if l := must(t, g, Key{}); l.Target.Name != "s0" {
			t.Error("still doubted")
		}
		events(t, log)
	})
}

// A key returns to its server when that is up again.
func TestHashFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := group(t, Settings{Policy: Source, Fall: 1}, equal(5))
		defer g.Close()
		home := must(t, g, key(1))
		home.Failed("connect", errRefused)
		next := must(t, g, key(1), home)
		if next.Target == home.Target {
			t.Fatal("tried twice")
		}
		if l := must(t, g, key(1)); l.Target != next.Target {
			t.Error("the next choice changes")
		}
		time.Sleep(time.Second)
		l := must(t, g, key(1))
		l.Greeted(0)
		if again := must(t, g, key(1)); l.Target != home.Target || again.Target != home.Target {
			t.Error("the key did not return")
		}
	})
}
