package integration

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// keptGoroutines is how many internal/workers keeps.
const keptGoroutines = 32

// width is how many sessions run at once.
const width = 16

// TestLeavesNothing runs 1,000 sessions, several at a time, and compares what
// the process holds with what it held before.
func TestLeavesNothing(t *testing.T) {
	throughProxy(t)
	p := newPlace(t)
	s := startEmbedded(t, netip.MustParseAddr("127.0.0.1"), folder(t))
	content := bytes.Repeat([]byte("small file\n"), 100)
	write(t, filepath.Join(s.root, "small"), string(content))
	ftproxy := startProxy(t, configure(t, p, s.addr))
	sessions := func(n int) {
		t.Helper()
		each(t, n, width, func() error { return oneSession(p.client, ftproxy.addr4, s, content) })
	}
	sessions(100) // whatever is pooled is there now
	idle := func() (h holdings) {
		waitFor(t, "no session, no lease", patience, func() bool {
			m := ftproxy.metrics(t)
			return m["ftproxy_sessions_active"] == 0 && m["ftproxy_data_port_leases_pending"] == 0 && m["ftproxy_transfers_active"] == 0
		})
		return held(t, ftproxy)
	}
	before := idle()
	sessions(1000)
	idle()
	var after holdings
	if !holdsWithin(patience, func() bool {
		after = held(t, ftproxy)
		return after.atMost(before)
	}) {
		t.Errorf("after 1,000 sessions the process holds %+v, before %+v", after, before)
	}
	if open := listening(t, p.passive, p.data); len(open) > 0 {
		t.Errorf("data ports still open: %v", open)
	}
	m := ftproxy.metrics(t)
	if got := m["ftproxy_sessions_started_total"]; got < 1100 {
		t.Errorf("ftproxy_sessions_started_total %v, want 1100 at least", got)
	}
}

// each runs f n times, at most width at once.
func each(t *testing.T, n, width int, f func() error) {
	t.Helper()
	var wg sync.WaitGroup
	work := make(chan struct{})
	for range width {
		wg.Go(func() {
			for range work {
				if err := f(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := 0; i < n && !t.Failed(); i++ {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func oneSession(from netip.Addr, to netip.AddrPort, s *server, want []byte) error {
	r, code, err := dialRaw(from, to, patience)
	if err != nil {
		return err
	}
	defer r.Close()
	if code != 220 {
		return fmt.Errorf("greeting %d, want 220", code)
	}
	if err := r.login(s.user, s.pass); err != nil {
		return err
	}
	addr, err := r.passive()
	if err != nil {
		return err
	}
	got, err := r.fetch("small", addr)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes, want %d", len(got), len(want))
	}
	_, err = r.expect(221, "QUIT")
	return err
}

// holdings is what a process holds.
type holdings struct {
	Sockets, Pipes, Others int
	Goroutines             int
}

// atMost allows as many goroutines more as are kept, and the two ends of a pooled
// pipe for each session that ran at once. A leak would be one for each session.
func (h holdings) atMost(o holdings) bool {
	return h.Sockets <= o.Sockets && h.Pipes <= o.Pipes+2*width && h.Others <= o.Others && h.Goroutines <= o.Goroutines+keptGoroutines
}

func held(t *testing.T, p *proxy) holdings {
	t.Helper()
	n := p.metrics(t)["go_goroutines"]
	if n == 0 {
		t.Fatal("/metrics has no go_goroutines")
	}
	h := holdings{Goroutines: int(n)}
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		switch to, _ := os.Readlink(filepath.Join(dir, fd.Name())); {
		case strings.HasPrefix(to, "socket:"):
			h.Sockets++
		case strings.HasPrefix(to, "pipe:"):
			h.Pipes++
		default:
			h.Others++
		}
	}
	return h
}

// listening returns the ports of the ranges that anybody listens on.
func listening(t *testing.T, ranges ...portRange) (open []uint16) {
	t.Helper()
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" { // TCP_LISTEN
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			for _, r := range ranges {
				if r.contains(uint16(port)) {
					open = append(open, uint16(port))
				}
			}
		}
	}
	return open
}
