package balance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errRefused = errors.New("refused")

// target is server number n, with a weight.
func target(n, weight int) Target {
	return Target{
		Name:   fmt.Sprintf("s%d", n),
		Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 21),
		Weight: weight,
	}
}

// targets are servers 0, 1, …, with these weights.
func targets(weights ...int) (all []Target) {
	for n, w := range weights {
		all = append(all, target(n, w))
	}
	return all
}

// equal are n servers of weight 1.
func equal(n int) []Target { return targets(slices.Repeat([]int{1}, n)...) }

// A journal is what a group told.
type journal struct {
	mu  sync.Mutex
	all []string
}

func (j *journal) add(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, text)
}

// take gives what was told since it was last called.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.all
	j.all = nil
	return all
}

func (j *journal) isEmpty() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.all) == 0
}

// group is a group with a fixed seed, and a journal of its events.
func group(t testing.TB, s Settings, all []Target) (*Group, *journal) {
	t.Helper()
	log := new(journal)
	g := New(Options{
		Rand:    rand.NewPCG(1, 2),
		Changed: func(e Event) { log.add(fmt.Sprintf("%s %v %s", e.Target.Name, e.To, e.By)) },
		Usable:  func(usable bool) { log.add(fmt.Sprintf("usable %v", usable)) },
	})
	t.Cleanup(func() { _ = g.Close() })
	g.Configure(s, all)
	log.take()
	return g, log
}

// must picks a server.
func must(t testing.TB, g *Group, key Key, tried ...*Lease) *Lease {
	t.Helper()
	l, err := g.Pick(t.Context(), key, tried...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// refused expects that nothing is picked.
func refused(t *testing.T, g *Group, want error, tried ...*Lease) {
	t.Helper()
	if l, err := g.Pick(t.Context(), Key{}, tried...); !errors.Is(err, want) {
		t.Fatalf("picked %v, %v; want %v", l, err, want)
	}
}

// fail has n sessions fail, which try one server each.
func fail(t *testing.T, g *Group, n int) {
	t.Helper()
	for range n {
		must(t, g, Key{}).Failed("connect", errRefused)
	}
}

func status(g *Group, name string) Status {
	for _, s := range g.Snapshot().Servers {
		if s.Target.Name == name {
			return s
		}
	}
	return Status{Sessions: -1}
}

func events(t *testing.T, log *journal, want ...string) {
	t.Helper()
	if got := log.take(); !slices.Equal(got, want) {
		t.Errorf("events %q; want %q", got, want)
	}
}

func key(n int) Key {
	return Key{Client: netip.AddrFrom4([4]byte{192, byte(n >> 16), byte(n >> 8), byte(n)}), User: fmt.Sprintf("user%d", n)}
}

func TestNoServers(t *testing.T) {
	g, _ := group(t, Settings{}, nil)
	refused(t, g, ErrDown)
	if g.Usable() {
		t.Error("usable")
	}
	_ = g.Close()
	refused(t, g, ErrClosed)
}

// One that was tried is not picked again; a higher tier is used when nothing else is left.
func TestTried(t *testing.T) {
	all := equal(3)
	all[0].Tier = 1
	g, _ := group(t, Settings{Policy: First}, all)
	a := must(t, g, Key{})
	a.Failed("greeting", errRefused)
	b := must(t, g, Key{}, a)
	b.Failed("greeting", errRefused)
	c := must(t, g, Key{}, a, b)
	if a.Target.Name != "s1" || b.Target.Name != "s2" || c.Target.Name != "s0" {
		t.Errorf("picked %s, %s, %s", a.Target.Name, b.Target.Name, c.Target.Name)
	}
	c.Failed("tls", errRefused)
	refused(t, g, ErrTried, a, b, c)
	if n := status(g, "s1").Failures["greeting"]; n != 1 {
		t.Errorf("%d failures are counted", n)
	}
}

// A tier is used only while no lower one has a server that is up, and left when one is.
func TestTiers(t *testing.T) {
	all := equal(2)
	all[1].Tier = 7
	g, log := group(t, Settings{Policy: LeastConn}, all)
	for range 5 {
		if l := must(t, g, Key{}); l.Target.Name != "s0" {
			t.Fatal(l.Target.Name)
		}
	}
	_ = g.Set("s0", Drain)
	if l := must(t, g, Key{}); l.Target.Name != "s1" {
		t.Fatal(l.Target.Name)
	}
	_ = g.Set("s0", Up)
	if l := must(t, g, Key{}); l.Target.Name != "s0" {
		t.Fatal(l.Target.Name)
	}
	events(t, log, "s0 drain hand", "s0 up hand")
}

// What an administrator sets is kept by Configure, and stands above agent and check.
func TestHandSurvivesConfigure(t *testing.T) {
	g, log := group(t, Settings{}, equal(2))
	if err := g.Set("nobody", Down); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	_ = g.Set("s0", Down)
	g.Configure(Settings{Policy: Random}, equal(3))
	more := target(0, 1)
	more.Addr = netip.MustParseAddrPort("10.9.9.9:21") // another address of the same name
	g.SetTargets([]Target{more, target(1, 1)})
	if s := status(g, "s0"); s.State != Down || s.Hand != Down || s.By != ByHand {
		t.Errorf("%+v", s)
	}
	g.SetTargets([]Target{target(1, 1)}) // The name has no address for a while.
	g.SetTargets(equal(2))
	if s := status(g, "s0"); s.State != Down {
		t.Errorf("%+v", s)
	}
	g.Configure(Settings{}, []Target{target(1, 1)}) // Now it is forgotten.
	g.Configure(Settings{}, equal(2))
	if s := status(g, "s0"); s.State != Up {
		t.Errorf("%+v", s)
	}
	events(t, log, "s0 down hand")
}

// A server that is removed keeps its sessions, and is forgotten with the last.
func TestConfigureForgets(t *testing.T) {
	g, log := group(t, Settings{Policy: RoundRobin}, equal(2))
	a, b := must(t, g, Key{}), must(t, g, Key{})
	g.Configure(Settings{}, equal(1))
	if l := must(t, g, Key{}); l.Target.Name != "s0" {
		t.Error("picked one that is gone")
	}
	if s := status(g, "s1"); !s.Gone || s.Sessions != 1 {
		t.Errorf("%+v", s)
	}
	g.Configure(Settings{}, equal(2)) // It comes back, with its session.
	if s := status(g, "s1"); s.Gone || s.Sessions != 1 {
		t.Errorf("%+v", s)
	}
	g.Configure(Settings{}, nil)
	events(t, log, "usable false")
	a.Release()
	a.Release()
	b.Failed("data", errRefused)
	b.Release()
	if s := status(g, "s1"); s.Sessions != -1 {
		t.Errorf("not forgotten: %+v", s)
	}
	if s := status(g, "s0"); s.Sessions != 1 {
		t.Errorf("%+v", s)
	}
}

func TestThousandTargets(t *testing.T) {
	for _, p := range []Policy{First, RoundRobin, LeastConn, Random, Source, User} {
		g, _ := group(t, Settings{Policy: p}, append(equal(1000), equal(1000)...))
		if n := len(g.Snapshot().Servers); n != 1000 {
			t.Fatalf("%d servers", n)
		}
		for n := range 100 {
			must(t, g, key(n)).Release()
		}
	}
}

// Events come in order, and may call the group.
func TestEventsMayCallTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *Group
		var got []string
		g = New(Options{
			Changed: func(e Event) {
				got = append(got, e.To.String())
				if e.To == Drain {
					_ = g.Set("s0", Down)
				}
				g.Snapshot()
			},
			Usable: func(usable bool) { got = append(got, fmt.Sprint(usable)) },
		})
		g.Configure(Settings{}, equal(1))
		_ = g.Set("s0", Drain)
		_ = g.Set("s0", Down)
		_ = g.Set("s0", Up)
		if want := []string{"true", "drain", "false", "down", "up", "true"}; !slices.Equal(got, want) {
			t.Errorf("%q; want %q", got, want)
		}
		_ = g.Close()
	})
}

func TestParseState(t *testing.T) {
	for word, want := range map[string]State{"ready": Up, "drain": Drain, "down": Down} {
		if got, err := ParseState(word); got != want || err != nil {
			t.Error(word, got, err)
		}
	}
	if _, err := ParseState("up"); err == nil {
		t.Error("up is no word")
	}
}

// One server without limits costs about nothing.
func BenchmarkPickOne(b *testing.B) {
	g, _ := group(b, Settings{Policy: RoundRobin}, equal(1))
	b.ReportAllocs()
	for b.Loop() {
		l, _ := g.Pick(context.Background(), Key{})
		l.Greeted(time.Millisecond)
		l.Release()
	}
}

func BenchmarkPickOneParallel(b *testing.B) {
	g, _ := group(b, Settings{Policy: First}, equal(1))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, _ := g.Pick(context.Background(), Key{})
			l.Release()
		}
	})
}

func BenchmarkPickThousand(b *testing.B) {
	for _, p := range []Policy{RoundRobin, LeastConn, Random, Source} {
		b.Run(string(p), func(b *testing.B) {
			g, _ := group(b, Settings{Policy: p}, equal(1000))
			for n := 0; b.Loop(); n++ {
				must(b, g, key(n)).Release()
			}
		})
	}
}
