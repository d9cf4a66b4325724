package balance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A checker answers checks, and remembers when they came.
type checker struct {
	mu    sync.Mutex
	err   error
	asked []time.Time
}

func (c *checker) check(context.Context, Target) (string, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, time.Now())
	return "220 ready", time.Millisecond, c.err
}

// times tells when checks came.
func (c *checker) times() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

func (c *checker) set(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
}

// checked are settings with a check each second; it takes 4 failures, and 2 successes.
func checked(c *checker) Settings {
	return Settings{Check: c.check, Interval: time.Second, Rise: 2, Fall: 4, CheckKey: "a"}
}

// rounds lets that many checks pass.
func rounds(n int) {
	time.Sleep(time.Duration(n) * time.Second)
	synctest.Wait()
}

func TestCheckRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c checker
		g, log := group(t, checked(&c), equal(1))
		defer g.Close()
		synctest.Wait()
		if s := status(g, "s0"); s.Check.Text != "220 ready" || s.Check.Err != nil || s.Check.At != time.Now() {
			t.Errorf("the first check does not run at once: %+v", s.Check)
		}
		rounds(10)
		c.set(errRefused)
		count := len(c.times())
		for log.isEmpty() {
			if len(c.times())-count >= 4 {
				t.Fatal("not down after 4 failures")
			}
			must(t, g, Key{}).Release()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if n := len(c.times()) - count; n != 4 {
			t.Errorf("down after %d failures", n)
		}
		events(t, log, "s0 down check", "usable false")
		rounds(10)
		refused(t, g, ErrDown) // Sessions do not try what the check decides.
		c.set(nil)
		count = len(c.times())
		for log.isEmpty() {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if n := len(c.times()) - count; n != 2 {
			t.Errorf("up after %d successes", n)
		}
		events(t, log, "s0 up check", "usable true")
		g.mu.Lock() // One by one, without the clock: only what comes in a row counts.
		s := g.tiers[0][0]
		for _, bad := range []bool{true, true, true, false, true, true, true} {
			g.judge(s, answer{err: map[bool]error{true: errRefused}[bad]})
		}
		g.unlock()
		events(t, log)
		g.mu.Lock()
		for _, bad := range []bool{true, false, true, false, true, false} {
			g.judge(s, answer{err: map[bool]error{true: errRefused}[bad]})
		}
		g.unlock()
		events(t, log, "s0 down check", "usable false")
		asked := c.times()
		for i, at := range asked[1:] {
			if d := at.Sub(asked[i]); d < 900*time.Millisecond || d > 1100*time.Millisecond {
				t.Errorf("%v between two checks", d)
			}
		}
	})
}

// A new server is up until the first verdict, which takes it down if it is bad.
func TestFirstCheckDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := checker{err: errRefused}
		g, log := group(t, checked(&c), nil)
		defer g.Close()
		g.SetTargets(equal(1))
		if !g.Usable() {
			t.Error("a new server is not up")
		}
		synctest.Wait()
		events(t, log, "usable true", "s0 down check", "usable false")
	})
}

// Sessions take a server down although its check succeeds, and the check brings it up.
func TestSessionsAndCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c checker
		s := checked(&c)
		s.Fall = 3
		g, log := group(t, s, equal(1))
		defer g.Close()
		rounds(5)
		for range 3 { // The checks between do not make them fewer.
			rounds(2)
			fail(t, g, 1)
		}
		events(t, log, "s0 down session", "usable false")
		refused(t, g, ErrDown)
		rounds(3)
		events(t, log, "s0 up check", "usable true")
		// Without a check, sessions may try at once what the check took down.
		c.set(errRefused)
		rounds(5)
		refused(t, g, ErrDown)
		g.Configure(Settings{}, equal(1))
		must(t, g, Key{}).Greeted(0)
		events(t, log, "s0 down check", "usable false", "s0 up session", "usable true")
	})
}

// A check that does not heed its context counts as failed, is not piled up, and stops
// neither the checks of others nor Configure nor Close.
func TestCheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, others atomic.Int32
		let := make(chan struct{})
		s := Settings{Interval: time.Second, Timeout: 300 * time.Millisecond, CheckKey: "a",
			Check: func(_ context.Context, to Target) (string, time.Duration, error) {
				if to.Name == "s1" {
					others.Add(1)
					return "", 0, nil
				}
				calls.Add(1)
				<-let
				return "", 0, nil
			}}
		g, log := group(t, s, equal(2))
		time.Sleep(299 * time.Millisecond)
		synctest.Wait()
		events(t, log)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		events(t, log, "s0 down check")
		rounds(20)
		if calls.Load() != 1 || others.Load() < 18 {
			t.Errorf("%d calls, %d of others", calls.Load(), others.Load())
		}
		began := time.Now()
		g.Configure(s, equal(2))
		g.SetTargets(equal(1))
		if d := time.Since(began); d != 0 {
			t.Errorf("Configure took %v", d)
		}
		_ = g.Close()
		if d := time.Since(began); d != closeTime {
			t.Errorf("Close took %v", d)
		}
		close(let)
	})
}

// One that heeds its context ends with it, and with Close.
func TestCheckThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		s := Settings{Interval: time.Second, Timeout: 100 * time.Millisecond,
			Check: func(ctx context.Context, _ Target) (string, time.Duration, error) {
				calls.Add(1)
				<-ctx.Done()
				return "", 0, ctx.Err()
			}}
		g, log := group(t, s, equal(1))
		rounds(10)
		if calls.Load() < 9 {
			t.Errorf("%d calls", calls.Load())
		}
		if s := status(g, "s0"); s.Check.Err == nil || s.Check.Err.Error() != "no answer within 100ms" {
			t.Errorf("%+v", s.Check)
		}
		events(t, log, "s0 down check", "usable false")
		began := time.Now()
		_ = g.Close()
		if d := time.Since(began); d != 0 {
			t.Errorf("Close took %v", d)
		}
	})
}

// A Configure in the middle of a check: with other settings its verdict is dropped and
// another check is asked at once, with the same settings it counts.
func TestConfigureInMidCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Settings, []Target)
		counts bool
	}{
		{"the same", func(*Settings, []Target) {}, true},
		{"another policy and weight", func(s *Settings, all []Target) { s.Policy, all[0].Weight = Random, 9 }, true},
		{"another key", func(s *Settings, _ []Target) { s.CheckKey = "b" }, false},
		{"another interval", func(s *Settings, _ []Target) { s.Interval++ }, false},
		{"another name in TLS", func(_ *Settings, all []Target) { all[0].Host = "b" }, false},
		{"no check", func(s *Settings, _ []Target) { s.Check = nil }, false},
		{"no server", func(_ *Settings, all []Target) { all[0].Addr = target(9, 1).Addr }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var running, ended, calls atomic.Int32
			s := Settings{Interval: time.Minute, CheckKey: "a"}
			s.Check = func(ctx context.Context, _ Target) (string, time.Duration, error) {
				running.Add(1)
				defer running.Add(-1)
				if calls.Add(1) > 1 {
					return "", 0, nil
				}
				time.Sleep(10 * time.Second) // It looks at its context only in the end.
				ended.Add(1)
				return "", 0, errRefused
			}
			g, log := group(t, s, equal(1))
			defer g.Close()
			rounds(5)
			all := equal(1)
			tt.change(&s, all)
			g.Configure(s, all)
			rounds(10)
			if ended.Load() != 1 || running.Load() != 0 {
				t.Fatalf("%s: %d ended, %d run", tt.name, ended.Load(), running.Load())
			}
			switch {
			case tt.counts:
				events(t, log, "s0 down check", "usable false")
			default:
				events(t, log)
			}
			again := calls.Load() == 2
			if want := !tt.counts && s.Check != nil; again != want {
				t.Errorf("%s: asked again %v; want %v", tt.name, again, want)
			}
		})
	}
}

func TestAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line atomic.Value
		line.Store("up")
		s := Settings{Interval: time.Second, Policy: RoundRobin,
			Agent: func(context.Context, Target) (string, error) {
				if line.Load() == "" {
					return "", errors.New("no agent")
				}
				return line.Load().(string), nil
			}}
		all := equal(1)
		all[0].Weight = 10
		g, log := group(t, s, all)
		defer g.Close()
		say := func(text string) {
			line.Store(text)
			rounds(2)
		}
		say("")
		events(t, log)
		say("down # disk full")
		if s := status(g, "s0"); s.Why != "disk full" || s.Agent.Err != nil {
			t.Errorf("%+v", s)
		}
		say("") // An agent that is not reached changes nothing.
		if s := status(g, "s0"); s.State != Down || s.Agent.Err == nil || s.Why != "disk full" {
			t.Errorf("%+v", s)
		}
		say("maint up")
		events(t, log, "s0 down agent", "usable false")
		_ = g.Set("s0", Drain)
		say("ready 75% maxconn:3") // The administrator stands above it.
		events(t, log, "s0 drain hand")
		if s := status(g, "s0"); s.Weight != 7.5 || s.Max != 3 {
			t.Errorf("%+v", s)
		}
		_ = g.Set("s0", Up)
		say("0%")
		say("nonsense")
		if s := status(g, "s0"); s.Agent.Err == nil || s.By != ByAgent {
			t.Errorf("%+v", s)
		}
		events(t, log, "s0 up hand", "usable true", "s0 drain agent", "usable false")
		g.Configure(Settings{}, all) // Without the agent, nobody objects.
		events(t, log, "s0 up config", "usable true")
	})
}

// Thousand servers, all checked, stop at once.
func TestThousandChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c checker
		g, _ := group(t, checked(&c), equal(1000))
		rounds(3)
		if n := len(c.times()); n < 3000 {
			t.Error(fmt.Sprint(n, " checks"))
		}
		_ = g.Close()
	})
}
