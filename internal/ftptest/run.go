package ftptest

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Start starts the proxy that dialogues are about, on a machine of the fake
// network (see the package's documentation for its addresses), with config
// added to the configuration that all dialogues of the test have. The proxy
// must listen on port 21 of its public addresses. It logs JSON lines with a
// "message" to logs.
type Start = func(t testing.TB, proxy *Host, config string, logs io.Writer) Proxy

// A Proxy is one that runs.
type Proxy struct {
	// Stop ends it and waits for its goroutines. It is called exactly once.
	Stop func()
	// Reload makes changes, which Changed understands, in the configuration that
	// is in force. On an error that stays as it was. It is not called where no
	// dialogue reloads, and may be called after Stop.
	Reload func(changes string) error
}

// RunDialogues runs each file that matches glob as a parallel subtest in a
// synctest bubble of its own. The package's documentation says what stands in
// the files.
func RunDialogues(t *testing.T, glob string, start Start) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues match %s (%v)", glob, err)
	}
	for _, file := range files {
		base := filepath.Base(file)
		t.Run(strings.TrimSuffix(base, filepath.Ext(base)), func(t *testing.T) {
			t.Parallel()
			d, err := parseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { d.run(t, start) })
		})
	}
}

// stopTimeout is how long, on the fake clock, stop may take at the end.
const stopTimeout = time.Hour

// Where everybody is.
var (
	frontend  = netip.MustParseAddrPort("203.0.113.9:21")
	frontend6 = netip.MustParseAddrPort("[2001:db8::9]:21")
	inside    = netip.MustParseAddr("10.0.0.2")
	inside6   = netip.MustParseAddr("fd00::2")
	server1   = netip.MustParseAddr("10.0.0.5")
	server1v6 = netip.MustParseAddr("fd00::5")
	server2   = netip.MustParseAddr("10.0.0.6")
	server2v6 = netip.MustParseAddr("fd00::6")
)

const controlPort = 21

// callerAddrs returns the addresses of a client or stranger.
func callerAddrs(n name) (ipv4, ipv6 netip.Addr) {
	last := byte(6 + n.session)
	if n.role == "stranger" {
		last = byte(65 + n.session) // client60 and the stranger are the same machine.
	}
	ipv6 = netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: 1, 15: last})
	return netip.AddrFrom4([4]byte{198, 51, 100, last}), ipv6
}

// A run is a dialogue being run.
type run struct {
	tb       testing.TB
	dialogue *dialogue
	network  *Network
	proxy    *Host
	events   *transcript
	logs     logLines

	wg        sync.WaitGroup // of the peers' goroutines
	peers     map[name]*peer // by the name's last connection
	all       []*peer
	listeners map[name]*Listener // of data connections
	servers   []*Listener        // on the servers' control ports

	program Proxy
	stopped chan struct{} // not nil once Stop was called; closed when it returned
}

// run runs d in the synctest bubble of the caller.
func (d *dialogue) run(tb testing.TB, start Start) {
	tb.Helper()
	n := NewNetwork()
	r := &run{
		tb:        tb,
		dialogue:  d,
		network:   n,
		proxy:     n.Host(frontend.Addr(), inside, frontend6.Addr(), inside6),
		events:    &transcript{began: time.Now()},
		peers:     make(map[name]*peer),
		listeners: make(map[name]*Listener),
	}
	for _, addrs := range [][]netip.Addr{{server1, server1v6}, {server2, server2v6}} {
		n.Host(addrs...)
		for _, a := range addrs {
			r.listenControl(a)
		}
	}
	for i := range 99 {
		for _, role := range []string{"client", "stranger"} {
			n.Host(callerAddrs(name{role: role, session: i + 1}))
		}
	}
	n.Name("ftp.internal", server1)
	n.Name("ftp6.internal", server1v6)
	n.Name("ftp2.internal", server2)
	n.Name("ftp62.internal", server2v6)

	r.program = start(tb, r.proxy, d.config, &r.logs)
	synctest.Wait()
	done := false
	defer func() {
		r.tb.Helper()
		r.end()
		if done {
			r.checkLeft()
			r.checkPasswords()
		}
	}()
	for i := range d.steps {
		r.step(&d.steps[i])
		synctest.Wait()
	}
	r.checkUnexpected()
	done = true
}

// fail ends the dialogue at s.
func (r *run) fail(s *step, format string, args ...any) {
	r.tb.Helper()
	r.tb.Fatalf("%s:%d: %s\n%s\n%v", r.dialogue.file, s.line, s.text, fmt.Sprintf(format, args...), r)
}

// String is what happened so far.
func (r *run) String() string {
	s := "what happened:\n" + r.events.String()
	if log := strings.TrimSpace(r.logs.String()); log != "" {
		s += "\nlog:\n" + log
	}
	return "\t" + strings.ReplaceAll(s, "\n", "\n\t")
}

// end closes all peers and stops the proxy.
func (r *run) end() {
	for _, p := range r.all {
		p.stop()
	}
	for _, l := range r.listeners {
		l.Close()
	}
	for _, l := range r.servers {
		l.Close()
	}
	r.wg.Wait()
	synctest.Wait()
	r.startStop()
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-r.stopped:
	case <-timeout.C:
		r.tb.Errorf("%s: the proxy has not stopped within %v\n%v", r.dialogue.file, stopTimeout, r)
	}
	synctest.Wait()
}

// startStop calls Stop in the background unless that was done before.
func (r *run) startStop() {
	if r.stopped == nil {
		r.stopped = make(chan struct{})
		go func() {
			defer close(r.stopped)
			r.program.Stop()
		}()
	}
}

// hasStopped reports whether Stop has returned.
func (r *run) hasStopped() bool {
	if r.stopped == nil {
		return false
	}
	select {
	case <-r.stopped:
		return true
	default:
		return false
	}
}

// checkUnexpected fails if somebody received what no step expected.
func (r *run) checkUnexpected() {
	r.tb.Helper()
	last := r.dialogue.steps[len(r.dialogue.steps)-1]
	last.text = "end of the dialogue"
	for _, p := range r.all {
		if b := p.unexpected(); len(b) > 0 {
			r.fail(&last, "%v received, and no step expected: %s", p.name, quote(b))
		}
	}
	for n, l := range r.listeners {
		if l.pending() > 0 {
			r.fail(&last, "a connection to %v waits and no step accepted it", n)
		}
	}
	for _, l := range r.servers {
		if l.pending() > 0 {
			r.fail(&last, "a connection to %v waits and no step accepted it", l.Addr())
		}
	}
}

// checkLeft reports what the stopped proxy has not closed.
func (r *run) checkLeft() {
	r.tb.Helper()
	if open := r.proxy.Open(); len(open) > 0 {
		r.tb.Errorf("%s: the proxy has stopped and left open:\n\t%s\n%v", r.dialogue.file, strings.Join(open, "\n\t"), r)
	}
}

// password is what a client says behind PASS. A shorter one is in a log by chance.
var password = regexp.MustCompile(`(?im)^PASS[ \t]*([^\r\n]{4,})`)

// checkPasswords fails if a password of the dialogue's is in the log.
func (r *run) checkPasswords() {
	r.tb.Helper()
	log := strings.ToLower(r.logs.String())
	for _, s := range r.dialogue.steps {
		if s.verb != ">" || s.who.role != "client" {
			continue
		}
		for _, said := range password.FindAllStringSubmatch(s.bytes, -1) {
			if strings.Contains(log, strings.ToLower(said[1])) {
				r.tb.Errorf("%s:%d: the password %q is in the log\n%v", r.dialogue.file, s.line, said[1], r)
			}
		}
	}
}

// peer returns the connection that s is about.
func (r *run) peer(s *step) *peer {
	r.tb.Helper()
	p := r.peers[s.who]
	if p == nil {
		r.fail(s, "%v has no connection", s.who)
	}
	return p
}

// control returns the control connection that s, a step of a data connection,
// is about. A stranger has none of its own and looks over the client's shoulder.
func (r *run) control(s *step) *peer {
	r.tb.Helper()
	n := s.who.control()
	if n.role == "stranger" {
		n.role = "client"
	}
	p := r.peers[n]
	if p == nil {
		r.fail(s, "%v has no connection", n)
	}
	return p
}

// add makes c the connection of n.
func (r *run) add(n name, c *Conn) {
	p := newPeer(n, c, r.events, &r.wg)
	r.peers[n] = p
	r.all = append(r.all, p)
}

// listenControl listens on a server's control port.
func (r *run) listenControl(a netip.Addr) {
	r.tb.Helper()
	l, err := r.network.Host(a).Listen(netip.AddrPortFrom(a, controlPort))
	if err != nil {
		r.tb.Fatal(err)
	}
	r.servers = append(r.servers, l.(*Listener))
}

// waiting returns the listeners at which connections for n may wait.
func (r *run) waiting(n name) []*Listener {
	if n.role == "server" && !n.data {
		return r.servers
	}
	if l := r.listeners[n]; l != nil {
		return []*Listener{l}
	}
	return nil
}

var (
	passiveAddr  = regexp.MustCompile(`(?m)^227 .*?(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)`)
	passivePort  = regexp.MustCompile(`(?m)^229 .*\(\|\|\|(\d+)\|\)`)
	activeAddr   = regexp.MustCompile(`(?mi)^PORT (\d+),(\d+),(\d+),(\d+),(\d+),(\d+)`)
	extendedAddr = regexp.MustCompile(`(?mi)^EPRT \|[12]\|([^|]+)\|(\d+)\|`)
)

// dataTarget returns the address that control was last told to connect to.
func dataTarget(control *peer) (netip.AddrPort, bool) {
	text := string(control.history())
	numbers, extended := passiveAddr, passivePort
	if control.name.role == "server" {
		numbers, extended = activeAddr, extendedAddr
	}
	n, e := lastMatch(numbers, text), lastMatch(extended, text)
	switch {
	case n == nil && e == nil:
		return netip.AddrPort{}, false
	case e == nil || n != nil && n[0] > e[0]:
		var b [6]byte
		for i := range b {
			v, err := strconv.ParseUint(text[n[2*i+2]:n[2*i+3]], 10, 8)
			if err != nil {
				return netip.AddrPort{}, false
			}
			b[i] = byte(v)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), true
	case len(e) == 4:
		port, err := strconv.ParseUint(text[e[2]:e[3]], 10, 16)
		return netip.AddrPortFrom(control.conn.remote.Addr(), uint16(port)), err == nil
	default:
		a, err := netip.ParseAddr(text[e[2]:e[3]])
		port, portErr := strconv.ParseUint(text[e[4]:e[5]], 10, 16)
		return netip.AddrPortFrom(a, uint16(port)), err == nil && portErr == nil
	}
}

// lastMatch returns the indexes of the last match and its groups.
func lastMatch(re *regexp.Regexp, text string) []int {
	all := re.FindAllStringSubmatchIndex(text, -1)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// line cuts the first line, with its LF, from b.
func line(b []byte) []byte {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1]
	}
	return b
}

// forget removes l from the servers' listeners.
func (r *run) forget(l *Listener) {
	r.servers = slices.DeleteFunc(r.servers, func(o *Listener) bool { return o == l })
}
