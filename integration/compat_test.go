package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// full runs every client with every server in every mode, and the report that
// is docs/compatibility.md. Otherwise a sample runs: see pickSample.
var full = os.Getenv("FTPROXY_COMPAT") == "full"

// allModes are those that a client can have. PASV and PORT have no room for an
// address of IPv6.
var allModes = []mode{{"PASV", false}, {"EPSV", false}, {"PORT", false}, {"EPRT", false}, {"EPSV", true}, {"EPRT", true}}

func modeNames() (list []string) {
	for _, m := range allModes {
		list = append(list, m.String())
	}
	return list
}

// A pair is a client in one mode with a server: one cell of the report.
type pair struct {
	server, client string
	mode           mode
}

func (p pair) String() string { return p.client + "-" + p.mode.String() + "-" + p.server }

func allPairs() (all []pair) {
	for _, s := range serverKinds {
		for _, c := range clientKinds {
			for _, m := range c.modes {
				all = append(all, pair{s.name, c.name, m})
			}
		}
	}
	return all
}

// pickSample chooses one server for each client and mode: the one that has had
// this mode, this client and anything least often, in this order. Servers that
// have not had a mode then get it with the first client that knows it.
func pickSample() (sample []pair) {
	uses := make(map[string]int)
	for _, c := range clientKinds {
		for _, m := range c.modes {
			var best pair
			bestUses := -1
			for _, s := range serverKinds {
				n := 10_000*uses[s.name+m.String()] + 100*uses[s.name+c.name] + uses[s.name]
				if bestUses < 0 || n < bestUses {
					best, bestUses = pair{s.name, c.name, m}, n
				}
			}
			sample = append(sample, best)
			for _, key := range []string{best.server, best.server + m.String(), best.server + c.name} {
				uses[key]++
			}
		}
	}
	for _, p := range allPairs() {
		if key := p.server + p.mode.String(); uses[key] == 0 {
			sample = append(sample, p)
			uses[key]++
		}
	}
	return sample
}

// TestSample makes sure that the sample has each server, each client and each
// mode of theirs, and each server in each mode.
func TestSample(t *testing.T) {
	have := make(map[string]bool)
	for _, p := range pickSample() {
		have[p.client+" "+p.mode.String()] = true
		have[p.server+" "+p.mode.String()] = true
	}
	modes := make(map[mode]bool)
	for _, c := range clientKinds {
		for _, m := range c.modes {
			modes[m] = true
			if !have[c.name+" "+m.String()] {
				t.Errorf("%s is not in the sample in mode %s", c.name, m)
			}
		}
	}
	for _, s := range serverKinds {
		for m := range modes {
			if !have[s.name+" "+m.String()] {
				t.Errorf("%s is not in the sample in mode %s", s.name, m)
			}
		}
	}
}

// TestClients runs the scenarios with the pairs of the sample, or with all.
func TestClients(t *testing.T) {
	pairs := pickSample()
	if full {
		pairs = allPairs()
	}
	t.Run("servers", func(t *testing.T) {
		for _, kind := range serverKinds {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kind)
				t.Run("clients", func(t *testing.T) { // ends before the checks below
					for _, c := range clientKinds {
						t.Run(c.name, func(t *testing.T) {
							client := c.find(t)
							for _, p := range pairs {
								if p.server == kind.name && p.client == c.name {
									t.Run(p.mode.String(), func(t *testing.T) {
										t.Parallel()
										r.runScenarios(t, client, p)
									})
								}
							}
						})
					}
				})
				r.checkServerLog(t)
			})
		}
	})
}

func (r *rig) runScenarios(t *testing.T, c client, p pair) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			known := knownFailure(p, sc.name)
			to := r.target(t, p.mode.ipv6)
			dir := p.client + "-" + p.mode.String() + "-" + sc.name
			try := attempt(t, func(t testing.TB) { sc.run(newBench(t, r, to, p.mode, c, dir)) })
			limited := knownLimit(p.client, p.mode.String(), sc.name)
			switch {
			case try.cannot && !try.failed:
				if limited == nil && !direct {
					t.Errorf("the client cannot, and limits does not say why: %s", try.text())
				}
				report.add(p, sc.name, cell{cannot: limited})
				t.Skip(try.text())
			case !try.failed:
				if limited != nil {
					t.Errorf("limits says that the client cannot: %s", limited.reason)
				}
				report.add(p, sc.name, cell{})
			case direct && (known == nil || known.direct):
				t.Error(try.text())
			case known == nil:
				t.Errorf("%s%s", try.text(), r.whoseFault(t, c, p, sc))
			case direct || !full:
				t.Skipf("known: %s\n%s", known.reason, try.text())
			default:
				t.Logf("known: %s\n%s", known.reason, try.text())
				if works := !r.tryDirect(t, c, p, sc).failed; works != known.direct {
					t.Errorf("without ftproxy it works: %t, want %t", works, known.direct)
				}
				report.add(p, sc.name, cell{known: known})
			}
		})
	}
}

// TestServersIPv6: every server, reached over IPv6 by clients of both families.
// TestServerIPv6 has more of vsftpd.
func TestServersIPv6(t *testing.T) {
	throughProxy(t)
	if !full {
		t.Skip("FTPROXY_COMPAT is not full")
	}
	if !haveIPv6() {
		lack(t, "no IPv6 on loopback")
	}
	for _, kind := range serverKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s := kind.start(t, netip.IPv6Loopback(), folder(t))
			s.kind = kind
			r := &rig{server: s, proxy: startProxy(t, configure(t, p, s.addr)), place: p}
			c := curl{command(t, "curl")}
			for _, m := range c.modes() {
				some(t, r, c, m)
				if !t.Failed() {
					report.addIPv6(kind.name, m.String(), cell{})
				}
			}
		})
	}
}

// tryDirect runs a scenario without ftproxy.
func (r *rig) tryDirect(t *testing.T, c client, p pair, sc scenario) *trial {
	to := r.without(p.mode.ipv6)
	dir := p.client + "-" + p.mode.String() + "-" + sc.name + "-direct"
	return attempt(t, func(t testing.TB) { sc.run(newBench(t, r, to, p.mode, c, dir)) })
}

func (r *rig) whoseFault(t *testing.T, c client, p pair, sc scenario) string {
	if try := r.tryDirect(t, c, p, sc); try.failed {
		return "\nwithout ftproxy it fails as well:\n" + try.text()
	}
	return "\nwithout ftproxy it works"
}

// A trial is a test whose failure is not that of the test it runs in.
type trial struct {
	testing.TB
	dir string

	mu             sync.Mutex
	failed, cannot bool
	said           []string
	folders        int
}

// attempt runs f, and its cleanups at the end of t.
func attempt(t *testing.T, f func(testing.TB)) *trial {
	t.Helper()
	try := &trial{TB: t, dir: t.TempDir()}
	done := make(chan struct{})
	go func() { // Fatal and Skip end it
		defer close(done)
		f(try)
	}()
	<-done
	return try
}

func (t *trial) text() string { return strings.Join(t.said, "\n") }

func (t *trial) note(failed bool, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = t.failed || failed
	t.said = append(t.said, strings.TrimSpace(text))
}

func (t *trial) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *trial) TempDir() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.folders++
	dir := filepath.Join(t.dir, fmt.Sprintf("%03d", t.folders))
	if err := os.Mkdir(dir, 0o755); err != nil {
		panic(err)
	}
	return dir
}

func (t *trial) Fail()                       { t.note(true, "failed") }
func (t *trial) Log(args ...any)             { t.note(false, fmt.Sprintln(args...)) }
func (t *trial) Logf(f string, args ...any)  { t.note(false, fmt.Sprintf(f, args...)) }
func (t *trial) Error(args ...any)           { t.note(true, fmt.Sprintln(args...)) }
func (t *trial) Errorf(f string, arg ...any) { t.note(true, fmt.Sprintf(f, arg...)) }

func (t *trial) FailNow() {
	t.note(true, "failed")
	runtime.Goexit()
}

func (t *trial) Fatal(args ...any) {
	t.Error(args...)
	runtime.Goexit()
}

func (t *trial) Fatalf(f string, args ...any) {
	t.Errorf(f, args...)
	runtime.Goexit()
}

func (t *trial) SkipNow() { t.Skip() }

func (t *trial) Skipf(f string, args ...any) { t.Skip(fmt.Sprintf(f, args...)) }

// Skip is what the scenarios do when the client cannot.
func (t *trial) Skip(args ...any) {
	t.note(false, fmt.Sprintln(args...))
	t.mu.Lock()
	t.cannot = true
	t.mu.Unlock()
	runtime.Goexit()
}
