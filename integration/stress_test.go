package integration

import (
	"context"
	"flag"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// The stress: many honest but awkward clients share a few ports, and every byte is
// checked at both ends. See doc.go for its settings.

var stressSeed = flag.Uint64("stress.seed", 0, "TestStress: choose the clients' actions by this number; 0: by the time")

// stressDirect leaves ftproxy out, which shows that the stress finds nothing by itself.
var stressDirect = direct || os.Getenv("FTPROXY_STRESS_DIRECT") == "1"

// stressTime is how long a row goes on.
func stressTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("FTPROXY_STRESS")
	if text == "" {
		return 30 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("FTPROXY_STRESS is %q, want a time such as 10m", text)
	}
	return d
}

// A stressRow is a configuration and what clients do to it.
type stressRow struct {
	name      string
	addresses int // of clients
	sessions  int // at each address, all the time
	ports     int // passive
	mix       []stressAction
	setups    []string
	least     float64 // transfers per second that are a stress at all
	idlers    int     // sessions at each address that do nothing but keep a port

	frontend, backend string // more keys
	dataPorts         int    // 0: plenty
	version           string // of TLS; "" without TLS
	reuse             bool   // require_session_reuse
	haproxy           bool
	reload            bool
	fast              bool // ftproxy without the race detector, which makes it slow
}

var (
	passiveSetups = []string{"PASV", "EPSV"}
	allSetups     = []string{"PASV", "PASV", "EPSV", "PORT", "EPRT"}
)

// closers give up one data connection in ten.
var closers = []stressAction{{"prompt", 90, prompt}, {"give up", 10, giveUp}}

// awkward does everything that leaves no port unused for long.
var awkward = []stressAction{
	{"prompt", 50, prompt}, {"after 150", 10, afterReply}, {"give up", 8, giveUp}, {"give up, 550", 4, giveUp550},
	{"upload nothing", 2, uploadNothing}, {"550, again", 6, again}, {"ABOR", 6, abort}, {"pipeline", 10, pipeline},
}

// slow does what leaves ports unused, too.
var slow = append([]stressAction{
	{"late", 3, late}, {"never connects", 2, neverConnects}, {"control lost", 2, lose}, {"silent", 1, stayAway},
}, awkward...)

// brisk never has a session wait for long where session reuse is required: an upload
// over a connection without its TLS session would, for data_connect.
var brisk = []stressAction{
	{"prompt", 55, prompt}, {"after 150", 10, afterReply}, {"give up", 15, giveUp}, {"give up, 550", 5, giveUp550},
	{"550, again", 2, again}, {"ABOR", 4, abort}, {"pipeline", 8, pipeline}, {"control lost", 1, lose},
}

var stressRows = []stressRow{
	{name: "closers", addresses: 2, sessions: 24, ports: 3, mix: closers, setups: passiveSetups, least: 5, fast: true},
	{name: "closers550", addresses: 2, sessions: 24, ports: 3, setups: passiveSetups, least: 5, fast: true,
		mix: []stressAction{{"prompt", 90, prompt}, {"give up, 550", 10, giveUp550}}},
	{name: "givers", addresses: 1, sessions: 8, ports: 10, setups: passiveSetups, least: 5, fast: true,
		mix: []stressAction{{"prompt", 70, prompt}, {"give up", 5, giveUpOften}, {"give up, 550", 2, giveUp550}}},
	{name: "awkward", addresses: 2, sessions: 12, ports: 3, mix: awkward, setups: passiveSetups, least: 2},
	{name: "slow", addresses: 2, sessions: 8, ports: 10, mix: slow, setups: passiveSetups, least: 0.5},
	{name: "active", addresses: 2, sessions: 8, ports: 10, mix: slow, setups: allSetups, least: 0.5},
	{name: "reload", addresses: 2, sessions: 8, ports: 5, mix: awkward, setups: allSetups, reload: true, least: 1},
	{name: "reuse-1.2", addresses: 1, sessions: 16, ports: 2, mix: brisk, setups: allSetups, version: "1.2", reuse: true, least: 0.5},
	{name: "reuse-1.3", addresses: 1, sessions: 16, ports: 2, mix: brisk, setups: allSetups, version: "1.3", reuse: true, least: 0.5},
	{name: "tls", addresses: 2, sessions: 12, ports: 3, mix: awkward, setups: passiveSetups, version: "1.3", least: 0.5},
	{name: "haproxy", addresses: 2, sessions: 12, ports: 3, mix: awkward, setups: passiveSetups, haproxy: true, least: 1},
	{name: "data-passive", addresses: 2, sessions: 8, ports: 5, mix: awkward, setups: allSetups, backend: `data = "passive"`, least: 1},
	{name: "data-active", addresses: 2, sessions: 8, ports: 5, mix: awkward, setups: allSetups, backend: `data = "active"`, dataPorts: 4, least: 1},
}

// TestStress: nobody gets a byte of another's, nobody hears 226 for what did not
// arrive, and who was told a port is served there, whatever the others do.
func TestStress(t *testing.T) {
	seed := *stressSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-stress.seed=%d", seed)
	t.Run("late", testStressLate)
	for _, row := range stressRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.run(t, seed, stressTime(t))
		})
	}
}

// cutAfter is how long what was begun may still go on at a row's end.
const cutAfter = 12 * time.Second

func (row stressRow) run(t *testing.T, seed uint64, d time.Duration) {
	w := row.start(t)
	row.crowd(w, seed, d)
	w.verdict(t, d, max(1, int64(row.least*d.Seconds())))
}

// crowd lets the clients of a row do what they do for a time.
func (row stressRow) crowd(w *stressRig, seed uint64, d time.Duration) {
	stop, stopped := context.WithTimeout(context.Background(), d)
	defer stopped()
	cut, cutNow := context.WithTimeout(context.Background(), d+cutAfter)
	defer cutNow()
	w.stop, w.cut = stop, cut
	context.AfterFunc(cut, w.cutAll)
	if row.reload {
		w.background.Go(func() { row.reloads(w) })
	}
	w.began = time.Now()
	var all sync.WaitGroup
	for a := range row.addresses {
		for i := range row.sessions {
			c := &stressClient{stressWorld: w.stressWorld, bind: clientAddr(w.place, a), rand: row.rand(seed, a, i), last: "its beginning"}
			mix := row.mix
			if i < row.idlers {
				mix = []stressAction{{"idle", 1, idle}}
			}
			all.Go(func() {
				for stop.Err() == nil {
					c.act(mix)
				}
				c.end(false)
			})
		}
	}
	all.Wait()
	w.background.Wait()
}

// rand makes the choices of one client.
func (row stressRow) rand(seed uint64, address, i int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(row.name))
	return rand.New(rand.NewPCG(seed, h.Sum64()+uint64(address<<16|i)))
}

// clientAddr is the n-th client address of a place.
func clientAddr(p place, n int) netip.Addr {
	addr := p.client
	for range n {
		addr = addr.Next()
	}
	return addr
}
