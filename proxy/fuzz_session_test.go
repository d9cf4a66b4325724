package proxy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/metrics"
)

// What is fuzzed here is the whole session: two sessions whose clients and
// servers do what a script says, in any order, on the fake network. A model
// says what must hold whatever happens:
//
//   - every command has one final reply, in order, and it is the one that the
//     server gave to this command; nothing else reaches the client;
//   - 2xx for a transfer means that every byte has arrived and that the sender
//     had ended, and a transfer that nothing went wrong with gets it; an upload
//     that was cut does not look complete to the server;
//   - nobody's data reaches another session, though both clients have one address and
//     share one or two ports, and connections come late; a refused transfer ends
//     nothing;
//   - what is refused does not reach the server, nor an address of the other
//     side either of them; one command at a time does;
//   - a session ends only for a reason, and then with 421; in the end no lease,
//     listener, connection or goroutine is left and all gauges are 0.

// FuzzSession plays scripts that the fuzzer invents. Goroutines make the
// coverage differ from run to run, so -fuzzminimizetime 1x keeps the fuzzer
// from spending all its time on making inputs smaller.
func FuzzSession(f *testing.F) {
	for _, seed := range []uint64{1, 2, 3, 4} {
		f.Add(randomScript(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if fault, story := playScript(t, script); fault != "" {
			t.Errorf("%s\n%s", fault, story)
		}
	})
}

// TestRandomSessions plays random scripts. FTPROXY_FUZZ_SEED is the first
// seed, FTPROXY_FUZZ_RUNS how many there are.
func TestRandomSessions(t *testing.T) {
	first, runs := fuzzSetting(t, "FTPROXY_FUZZ_SEED", 1), fuzzSetting(t, "FTPROXY_FUZZ_RUNS", 300)
	t.Logf("seeds %d to %d", first, first+runs-1)
	for seed := first; seed < first+runs; seed++ {
		script := randomScript(seed)
		fault, story := playScript(t, script)
		if fault == "" {
			continue
		}
		short := smallest(t, script, fault)
		if again, shorter := playScript(t, short); again != "" {
			script, fault, story = short, again, shorter
		} else {
			fault += " (not on every run)"
		}
		t.Errorf("seed %d, script %s: %s\n%s", seed, hex.EncodeToString(script), fault, story)
	}
}

func fuzzSetting(t *testing.T, key string, standard uint64) uint64 {
	t.Helper()
	text := os.Getenv(key)
	if text == "" {
		return standard
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

func randomScript(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	script := make([]byte, fuzzEvent*(20+r.IntN(maxFuzzEvents-20)))
	for i := range script {
		script[i] = byte(r.Uint32())
	}
	return script
}

// smallest leaves out the events without which the same kind of fault happens.
func smallest(t *testing.T, script []byte, fault string) []byte {
	for size := len(script) / 2 / fuzzEvent; size > 0; size /= 2 {
		for at := 0; at+size*fuzzEvent <= len(script); {
			shorter := slices.Concat(script[:at], script[at+size*fuzzEvent:])
			if got, _ := playScript(t, shorter); faultKind(got) == faultKind(fault) {
				script = shorter
			} else {
				at += size * fuzzEvent
			}
		}
	}
	return script
}

// faultKind is a fault without what differs from script to script.
func faultKind(fault string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, fault)
}

// A fuzzWorld is the network of a script and all that is on it.
type fuzzWorld struct {
	network     *ftptest.Network
	process     *Process
	metrics     *metrics.Metrics
	proxy       *ftptest.Host
	serverHost  *ftptest.Host
	stranger    *ftptest.Host
	clientHosts map[string]*ftptest.Host
	scenes      []*fuzzScene
	ports       string // the clients'

	serial    int
	wires     []*fuzzWire
	strangers []*fuzzWire
	listeners []net.Listener
	arrived   chan func() // connections that were accepted
	drained   chan error
	story     []string
}

type fuzzHost = *ftptest.Host

// playScript plays a script in a bubble of its own. It returns the first fault
// and what happened until then, much as a dialogue would say it.
func playScript(t *testing.T, script []byte) (fault, story string) {
	t.Helper()
	if len(script) > maxFuzzEvents*fuzzEvent {
		script = script[:maxFuzzEvents*fuzzEvent]
	}
	synctest.Test(t, func(t *testing.T) {
		w := &fuzzWorld{arrived: make(chan func(), 1024), ports: []string{"40000", "40000-40001"}[len(script)/fuzzEvent%2]}
		fault = w.run(t, script)
		story = strings.Join(w.story, "\n")
	})
	return fault, story
}

// run returns the first fault. What it has started has ended when it returns.
func (w *fuzzWorld) run(t *testing.T, script []byte) (fault string) {
	w.open(t)
	defer w.close()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fuzzFault:
			fault = r.text
		default:
			panic(r)
		}
	}()
	w.login()
	for ; len(script) >= fuzzEvent; script = script[fuzzEvent:] {
		if w.play(script[0], script[1]) {
			w.settle()
		}
	}
	w.finish()
	return w.leftovers()
}

func (w *fuzzWorld) open(t *testing.T) {
	w.network = ftptest.NewNetwork()
	w.proxy = w.network.Host(netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::9"))
	w.serverHost = w.network.Host(netip.MustParseAddr("10.0.0.5"))
	w.stranger = w.network.Host(netip.MustParseAddr("198.51.100.66"))
	clients := w.network.Host(netip.MustParseAddr("198.51.100.7"))
	w.clientHosts = map[string]*ftptest.Host{"": clients, "2": clients}
	ports := `passive_ports = "40000"`
	c, err := config.Parse("fuzz.toml", []byte(variant(t, ports, strings.Replace(ports, "40000", w.ports, 1))))
	if err != nil {
		t.Fatal(err)
	}
	w.metrics = metrics.New("test")
	w.process = New(Options{Network: fakeNetwork{w.proxy}, Log: zerolog.New(io.Discard), Metrics: w.metrics})
	if err := w.process.Apply(c); err != nil {
		t.Fatal(err)
	}
}

// login opens the two sessions.
func (w *fuzzWorld) login() {
	control, err := w.serverHost.Listen(netip.MustParseAddrPort("10.0.0.5:21"))
	if err != nil {
		panic(err)
	}
	w.listeners = append(w.listeners, control)
	for _, name := range []string{"", "2"} {
		s := &fuzzScene{w: w, name: name, active: time.Now()}
		s.client = w.dial(w.clientHosts[name], "client"+name, "203.0.113.9:21", false)
		conn, err := control.Accept()
		if err != nil {
			panic(err)
		}
		s.server = w.wire(conn, false)
		for _, step := range []string{"220 ready", "USER anna", "230 in"} {
			if step[0] == '2' {
				s.server.write([]byte(step + "\r\n"))
			} else {
				s.client.write([]byte(step + "\r\n"))
			}
			w.watch()
		}
		if got := string(s.client.got); got != "220 ready\r\n230 in\r\n" {
			panic(fuzzFault{fmt.Sprintf("the login: %q", got)})
		}
		s.heard, s.seen = len(s.client.got), len(s.server.got)
		w.scenes = append(w.scenes, s)
		w.story = append(w.story[:len(w.story)-1], "login"+name)
	}
}

// finish plays fair until every command has its reply: servers answer, senders
// end, receivers read.
func (w *fuzzWorld) finish() {
	w.say("# from here on both are well-behaved")
	for range 150 {
		busy := false
		for _, s := range w.scenes {
			if s.rest != "" && !s.clientSilent() {
				s.clientSends("")
			}
			w.settle()
			for _, o := range s.orders {
				if d := o.data; d != nil {
					for _, end := range []*fuzzWire{d.client, d.server} {
						if end != nil && !end.gone {
							end.startReading()
						}
						if end != nil && !end.last {
							end.halfClose()
						}
					}
				}
			}
			w.settle()
			s.doAnswer(2)
			w.settle()
			if !s.client.gone && s.client.ended == nil && len(s.waiting()) > 0 {
				busy = true
			}
		}
		if !busy {
			break
		}
		w.wait(2500 * time.Millisecond)
		w.settle()
	}
	for _, s := range w.scenes {
		if waiting := s.waiting(); len(waiting) > 0 && !s.client.gone && s.client.ended == nil && !s.serverSilent() {
			s.fault("%s is never answered", waiting[0].line)
		}
		s.mayEnd("done")
		for _, wire := range []*fuzzWire{s.client, s.server} {
			if !wire.gone {
				wire.close()
			}
		}
	}
	for _, wire := range w.wires {
		if !wire.gone {
			wire.reset()
		}
	}
	w.wait(10 * time.Second)
	// A client that is lost behind many commands is noticed when the one under
	// way has ended.
	for range 12 {
		if len(w.proxy.Open()) > 2 {
			w.wait(31 * time.Second)
		}
	}
}

// leftovers looks for what outlived its session.
func (w *fuzzWorld) leftovers() string {
	if w.drained == nil {
		for _, open := range w.proxy.Open() {
			if open != "listener 203.0.113.9:21" && open != "listener [2001:db8::9]:21" {
				return "all sessions have ended, left open: " + open
			}
		}
		w.drain()
		synctest.Wait()
	}
	select {
	case err := <-w.drained:
		if err != nil {
			return "shutdown: " + err.Error()
		}
		w.drained <- nil
	default:
		return "all sessions have ended, the process has not"
	}
	if open := w.proxy.Open(); len(open) > 0 {
		return fmt.Sprintf("the process has ended, left open: %q", open)
	}
	families, err := w.metrics.Registry().Gather()
	if err != nil {
		return err.Error()
	}
	for _, family := range families {
		switch family.GetName() {
		case "ftproxy_sessions_active", "ftproxy_transfers_active", "ftproxy_data_port_leases_pending":
			for _, m := range family.GetMetric() {
				if m.GetGauge().GetValue() != 0 {
					return fmt.Sprintf("the process has ended, %s%v is %v", family.GetName(), m.GetLabel(), m.GetGauge().GetValue())
				}
			}
		}
	}
	for _, c := range w.strangers {
		if len(c.got) > 0 {
			return fmt.Sprintf("a stranger received %q", c.got)
		}
	}
	return ""
}

// close ends all that is left.
func (w *fuzzWorld) close() {
	for _, l := range w.listeners {
		_ = l.Close()
	}
	w.watch()
	for _, wire := range w.wires {
		wire.stop()
	}
	if w.drained == nil {
		w.drain()
	}
	<-w.drained
}

func (w *fuzzWorld) drain() {
	w.say("drain")
	w.drained = make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		w.drained <- w.process.Shutdown(ctx)
	}()
}

// settle lets everything happen that needs no time, and looks at it.
func (w *fuzzWorld) settle() {
	w.watch()
	for _, s := range w.scenes {
		s.look()
	}
}

// watch brings what is known of the connections up to date.
func (w *fuzzWorld) watch() {
	synctest.Wait()
	for len(w.arrived) > 0 {
		(<-w.arrived)()
		synctest.Wait()
	}
	for _, wire := range w.wires {
		wire.look()
	}
}

func (w *fuzzWorld) wait(d time.Duration) {
	w.say("wait: %v", d)
	for _, s := range w.scenes {
		if d > 3*time.Second {
			for _, o := range s.orders {
				if o.told == 0 {
					o.late = true
				}
			}
		}
	}
	for ; d > 0; d -= time.Second { // The model knows to the second when peers hear something.
		<-time.After(min(d, time.Second))
		w.settle()
	}
}

func (w *fuzzWorld) say(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf(format, args...))
}

func (w *fuzzWorld) wire(conn net.Conn, lazy bool) *fuzzWire {
	wire := newFuzzWire(conn, lazy)
	w.wires = append(w.wires, wire)
	return wire
}

func (w *fuzzWorld) listen(at *ftptest.Host, addr string) net.Listener {
	l, err := at.Listen(netip.AddrPortFrom(netip.MustParseAddr(addr), 0))
	if err != nil {
		panic(err)
	}
	w.listeners = append(w.listeners, l)
	return l
}

// acceptData takes the connections of a data port, the last of which counts.
func (w *fuzzWorld) acceptData(l net.Listener, accepted func(*fuzzWire)) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		w.arrived <- func() { accepted(w.wire(conn, false)) }
	}
}
