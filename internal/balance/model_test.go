package balance

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A world does what comes to its mind with a group, and looks whether all is well.
type world struct {
	*testing.T
	rand *rand.Rand
	g    *Group

	mu   sync.Mutex // guards the rest
	held map[*Lease]bool
}

// configure gives the group other settings and servers by chance.
func (w *world) configure() {
	policies := []Policy{First, RoundRobin, LeastConn, Random, Source, User}
	s := Settings{
		Policy:    policies[w.rand.IntN(len(policies))],
		Queue:     w.rand.IntN(6),
		Fall:      1 + w.rand.IntN(3),
		SlowStart: time.Duration(w.rand.IntN(3)) * time.Second,
	}
	if w.rand.IntN(2) == 0 {
		s.Interval, s.CheckKey = time.Second, string(s.Policy)
		s.Check = func(_ context.Context, to Target) (string, time.Duration, error) {
			if (time.Now().Unix()/8+int64(to.Addr.Addr().As4()[3]))%3 == 0 {
				return "", 0, errRefused
			}
			return "", 0, nil
		}
		s.Agent = func(context.Context, Target) (string, error) { return "up 50%", nil }
	}
	var all []Target
	for n := range w.rand.IntN(5) {
		to := target(n, 1+w.rand.IntN(5))
		to.Tier, to.Max = w.rand.IntN(2), w.rand.IntN(4)
		all = append(all, to)
	}
	w.g.Configure(s, all)
}

// session picks servers until one is willing, and stays a while.
func (w *world) session(client int, patience, stay time.Duration, failures int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var tried []*Lease
	for {
		l, err := w.g.Pick(ctx, key(client), tried...)
		if err != nil {
			for _, known := range []error{ErrDown, ErrTried, ErrFull, ErrWaited} {
				if errors.Is(err, known) {
					return
				}
			}
			w.Error(err)
			return
		}
		for _, before := range tried {
			if before.server == l.server {
				w.Error("the same server twice")
			}
		}
		w.note(l, true)
		time.Sleep(stay / 10)
		if failures > len(tried) {
			w.note(l, false)
			l.Failed("connect", errRefused)
			tried = append(tried, l)
			continue
		}
		if stay%3 != 0 {
			l.Greeted(stay)
		}
		time.Sleep(stay)
		w.note(l, false)
		l.Release()
		return
	}
}

func (w *world) note(l *Lease, holds bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if holds {
		w.held[l] = true
	} else {
		delete(w.held, l)
	}
}

// look finds what must never be. All goroutines wait for time to pass.
func (w *world) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := make(map[*server]int)
	for l := range w.held {
		held[l.server]++
	}
	g := w.g
	g.mu.Lock()
	defer g.mu.Unlock()
	up := 0
	for at, s := range g.known {
		if s.sessions != held[s] {
			w.Fatalf("%v has %d sessions; %d are held", at, s.sessions, held[s])
		}
		if s.gone && s.sessions == 0 {
			w.Fatalf("%v is not forgotten", at)
		}
		if !s.gone && s.state == Up {
			up++
		}
		if s.trial != nil && !w.held[s.trial] {
			w.Fatalf("%v is tried by nobody", at)
		}
		delete(held, s)
	}
	if len(held) > 0 {
		w.Fatal("a server with sessions is forgotten")
	}
	if up != g.up {
		w.Fatalf("%d servers are up; counted %d", up, g.up)
	}
	var c clock
	for e := g.waiters.Front(); e != nil; e = e.Next() {
		p := e.Value.(*waiter)
		if s, err := g.choose(p.key, p.tried, true, &c); err != errWait {
			w.Fatalf("one waits who could have %v, %v", s, err)
		}
	}
}

// No server has more sessions than it may when one begins, nobody waits who could have a
// place, and in the end nothing is left.
func TestModel(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{T: t, rand: rand.New(rand.NewPCG(seed, 7)), held: make(map[*Lease]bool)}
			w.g = New(Options{Rand: rand.NewPCG(seed, 8)})
			w.configure()
			var sessions sync.WaitGroup
			for range 300 {
				switch w.rand.IntN(12) {
				case 0:
					w.configure()
				case 1:
					_ = w.g.Set(target(w.rand.IntN(5), 1).Name, State(w.rand.IntN(3)))
				case 2:
					_ = w.g.Set(target(w.rand.IntN(5), 1).Name, Up)
				default:
					client, failures := w.rand.IntN(50), max(w.rand.IntN(6)-3, 0)
					patience, stay := time.Duration(w.rand.IntN(3000))*time.Millisecond, time.Duration(w.rand.IntN(4000))*time.Millisecond
					sessions.Go(func() { w.session(client, patience, stay, failures) })
				}
				synctest.Wait()
				w.look()
				time.Sleep(time.Duration(w.rand.IntN(400)) * time.Millisecond)
				synctest.Wait()
				w.look()
			}
			sessions.Wait()
			w.look()
			w.g.Configure(Settings{}, nil)
			w.look()
			if len(w.g.known) != 0 || len(w.g.hand) != 0 || w.g.waiters.Len() != 0 {
				t.Error("something is left")
			}
			_ = w.g.Close()
		})
	}
}

// Many goroutines on real cores: never more sessions than may be, and all end.
func TestMany(t *testing.T) {
	all := equal(3)
	for i := range all {
		all[i].Max = 2
	}
	g, _ := group(t, Settings{Policy: LeastConn, Queue: 1000}, all)
	var running [3]int
	var mu sync.Mutex
	count := func(l *Lease, n int) {
		mu.Lock()
		defer mu.Unlock()
		at := l.Target.Addr.Addr().As4()[3]
		if running[at] += n; running[at] > 2 {
			t.Error("too many sessions")
		}
	}
	var sessions sync.WaitGroup
	for n := range 64 {
		sessions.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithCancel(context.Background())
				if (n+i)%5 == 0 {
					go cancel()
				}
				l, err := g.Pick(ctx, Key{})
				if err == nil {
					count(l, 1)
					if i%3 == 0 {
						l.Greeted(0)
					}
					count(l, -1)
					l.Release()
				} else if !errors.Is(err, ErrWaited) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	sessions.Wait()
	for _, s := range g.Snapshot().Servers {
		if s.Sessions != 0 {
			t.Errorf("%+v", s)
		}
	}
	if n := g.Snapshot().Waiting; n != 0 {
		t.Errorf("%d wait", n)
	}
}
