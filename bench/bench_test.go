//go:build linux

package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The proxies of a benchmark are started by its own program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "launch" || os.Args[1] == "relay" || os.Args[1] == "stub") {
		if err := run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var tiny = plan{
	name: "tiny", rounds: 1, bulk: 4 << 20, bulkTLS: 4 << 20, window: 100 * time.Millisecond, noop: 50 * time.Millisecond,
	small: []int{2}, active: []int{2}, logins: []int{2}, idle: []int{4, 8}, idleTLS: 8, rest: 50 * time.Millisecond,
	fair: 6, even: 100 * time.Millisecond, starts: 1, limit: 5 * time.Minute,
}

// Every mode measures ftproxy, the relay and the stub without errors, and leaves
// nothing behind. How fast they are is not the matter.
func TestEveryMode(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // ftproxy is another user
		t.Fatal(err)
	}
	o := &options{plan: tiny, peers: []string{direct, ours, floor}, only: strings.Split(modeNames(), ",")}
	binary := filepath.Join(dir, "ftproxy")
	if err := build("..", binary); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	b, err := newBench(&bench{plan: o.plan, ftproxy: binary, log: &log, peers: o.wanted()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pinAll(b.cores...) })
	defer b.interruptible()()
	err = b.passes(o)
	var groups []string
	for _, i := range b.running {
		if i.group != nil {
			groups = append(groups, i.group.dirs...)
		}
	}
	cpu := b.results.median("download", "CPU s/GB", ours)
	m := thisMachine(len(b.cores))
	var table strings.Builder
	b.table(&table, m)
	chart := b.chart(m)
	document := b.document(m)
	b.close()
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for _, dir := range groups {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("a control group is left: %s", dir)
		}
	}
	if _, err := os.Stat(b.dir); err == nil {
		t.Error("the temporary folder is left")
	}
	for _, p := range b.results.problems {
		// Where there are no control groups, this cannot be known.
		if !strings.Contains(p, errNoGroup.Error()) {
			t.Errorf("problem: %s", p)
		}
	}
	if math.IsNaN(cpu) {
		t.Error("no CPU time of a download")
	}
	for _, want := range []struct {
		mode, metric, peer string
		value              float64 // NaN is any above zero
	}{
		{"download", "MB/s", direct, math.NaN()},
		{"download", "MB/s", ours, math.NaN()},
		{"upload", "MB/s", ours, math.NaN()},
		{"upload", "MB/s", floor, math.NaN()},
		{"1 KiB, 2 clients", "per second", ours, math.NaN()},
		{"1 KiB, 2 clients", "errors", ours, 0},
		{"1 KiB, 2 clients", "errors", floor, 0},
		{"1 KiB, 2 clients, active", "per second", ours, math.NaN()},
		{"1 KiB, 2 clients, active", "errors", ours, 0},
		{"1 KiB, 2 clients, active", "per second", direct, math.NaN()},
		{"logins, 2 clients", "per second", ours, math.NaN()},
		{"logins, 2 clients", "errors", ours, 0},
		{"NOOP", "µs", ours, math.NaN()},
		{idleName(8), "KiB each, PSS", ours, math.NaN()},
		{portsMode, "pending, 1 address", ours, 10},
		{portsMode, "the next waits its turn", ours, 1},
		{portsMode, "pending, 20 addresses", ours, 200},
		{portsMode, "pending, 20 addresses", floor, 10},
		{portsMode, "outside", ours, 0},
		{portsMode, "failed", ours, 0},
		{fairName(6), "MB/s", ours, math.NaN()},
		{startMode, "ms", ours, math.NaN()},
		{bulkName(inFront, false), "MB/s", ours, math.NaN()},
		{bulkName(inFront, false), "MB/s", direct, math.NaN()},
		{bulkName(inFront, true), "MB/s", ours, math.NaN()},
		{bulkName(bothSides, false), "CPU s/GB", ours, math.NaN()},
		{bulkName(bothSides, true), "CPU s/GB", ours, math.NaN()},
		{loginName(usersTLS), "per second", ours, math.NaN()},
		{loginName(usersTLS), "per second", direct, math.NaN()},
		{loginName(usersTLS), "errors", ours, 0},
		{idleNameTLS(8, inFront), "KiB each, PSS", ours, math.NaN()},
		{idleNameTLS(8, bothSides), "KiB each, PSS", ours, math.NaN()},
	} {
		got := b.results.median(want.mode, want.metric, want.peer)
		if got != want.value && !(math.IsNaN(want.value) && got > 0) {
			t.Errorf("%s: %s of %s is %v, want %v", want.mode, want.metric, want.peer, got, want.value)
		}
	}
	for _, line := range []string{"logins: errors", "start to greeting", "NOOP", "Problems"} {
		if strings.Contains(table.String(), line) != (line != "Problems" || len(b.results.problems) > 0) {
			t.Errorf("the table, about %q:\n%s", line, &table)
		}
	}
	if text, err := json.Marshal(document); err != nil || !strings.Contains(string(text), `"reached":true`) {
		t.Errorf("JSON: %v\n%s", err, text)
	}
	if err := wellFormed(chart); err != nil {
		t.Errorf("SVG: %v\n%s", err, chart)
	}
}

func wellFormed(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestAddresses(t *testing.T) {
	want := [4]byte{127, 0, 3, 1}
	text := appendPASV(nil, want, 40001)
	if addr, port, ok := parsePORT(text); addr != want || port != 40001 || !ok {
		t.Errorf("parsePORT(%q) = %v, %d, %v", text, addr, port, ok)
	}
	if addr, port, ok := parseEPRT([]byte("|1|127.0.3.1|40001|")); addr != want || port != 40001 || !ok {
		t.Errorf("parseEPRT = %v, %d, %v", addr, port, ok)
	}
	for _, bad := range []string{"", "1,2,3,4,5", "1,2,3,4,5,256", "1,2,3,4,5,6,7", "1,2,,4,5,6"} {
		if _, _, ok := parsePORT([]byte(bad)); ok {
			t.Errorf("parsePORT(%q) is taken", bad)
		}
	}
	for _, bad := range []string{"", "|2|::1|40001|", "|1|127.0.3|40001|", "|1|127.0.3.1|70000|"} {
		if _, _, ok := parseEPRT([]byte(bad)); ok {
			t.Errorf("parseEPRT(%q) is taken", bad)
		}
	}
	if port, ok := portOf227([]byte("227 Entering Passive Mode (127,0,0,1,156,65).")); port != 40001 || !ok {
		t.Errorf("portOf227 = %d, %v", port, ok)
	}
}

func TestStepsStandOut(t *testing.T) {
	smooth := &histogram{}
	for k := range 20000 { // evenly on a scale of logarithms, 0.1 ms to 2 s
		smooth.add(time.Duration(1e5 * math.Pow(20000, float64(k)/20000)))
	}
	stalls := *smooth
	for range 2000 {
		stalls.add(44 * time.Millisecond)
	}
	standstill := &histogram{}
	for range 20000 {
		standstill.add(time.Millisecond)
	}
	standstill.add(1020 * time.Millisecond)
	for _, tt := range []struct {
		name string
		h    *histogram
		want string
	}{
		{"evenly", smooth, ""},
		{"delayed acknowledgements", &stalls, "40 ms"},
		{"the machine stood still once", standstill, ""},
	} {
		var got []string
		for _, s := range steps {
			if _, out := tt.h.share(s); out {
				got = append(got, s.name)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: steps at %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What the machine does to a round does not change how two peers compare.
func TestRatioIsOfRounds(t *testing.T) {
	r := &results{}
	for _, slow := range []float64{1, 10, 2} {
		r.add("logins, 8 clients", "per second", ours, 80/slow)
		r.add("logins, 8 clients", "per second", floor, 100/slow)
	}
	if got := r.ratio("logins, 8 clients", "per second", ours, floor); math.Abs(got-0.8) > 1e-9 {
		t.Errorf("ratio %v, want 0.8", got)
	}
	at := slices.IndexFunc(bars, func(b bar) bool { return b.what == "logins, 8 clients: per second" })
	if got, ok := bars[at].figure(r, full); got != "0.8 ×" || ok {
		t.Errorf("bar: %q, %v; want 0.8 ×, missed", got, ok)
	}
	if got := r.median("logins, 8 clients", "per second", suse); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-quick", "-only", "noop,idle", "-peers", "direct,ftproxy", "-rounds", "7"})
	if err != nil {
		t.Fatal(err)
	}
	if o.plan.name != "quick" || o.plan.rounds != 7 || len(o.only) != 2 || len(o.wanted()) != 2 {
		t.Errorf("%+v", o)
	}
	for _, bad := range [][]string{{"-only", "nop"}, {"-peers", "pftp"}, {"x"}, {"-against", "a", "-compare", "b"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
