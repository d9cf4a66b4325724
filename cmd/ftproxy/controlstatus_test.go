package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ftproxy/internal/admin"
)

var (
	berlin = time.FixedZone("CET", 3600)
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, berlin)
)

const wantScreen = `version        v1.2.3
state          serving
process        4711, for 2d 1h, since 2026-11-20 10:58:30
configuration  /etc/ftproxy/config.toml
in force       for 3h 0m, since 2026-11-22 09:00:00
last reload    REFUSED 5m 10s ago, at 2026-11-22 11:54:50:
  /etc/ftproxy/config.toml:12: frontend.public.passive_port: unknown key; did
    you mean passive_ports?
  /etc/ftproxy/config.toml:14: backend: missing
sessions       7 of 2500 now, 12345 since the start
transfers      3 now
descriptors    40 of 524288

frontend  backend  sessions  listens on
internal  legacy          0  10.0.0.1:21
public    legacy          7  0.0.0.0:21
                             [::]:21

data ports at  ports        size  pending  held  waiting
10.0.0.1       31000-31099   100        0     2        0
203.0.113.9    30000-30099   100       12     3        1
`

func TestStatusScreen(t *testing.T) {
	st := admin.Status{
		Version: "v1.2.3", State: admin.Serving, PID: 4711,
		Started: noon.Add(-49*time.Hour - 90*time.Second).UTC(),
		Config:  "/etc/ftproxy/config.toml", ConfiguredAt: noon.Add(-3 * time.Hour),
		LastReload: &admin.ReloadStatus{At: noon.Add(-310 * time.Second).UTC(), Error: "/etc/ftproxy/config.toml:12: frontend.public.passive_port: unknown key; " +
			"did you mean passive_ports?\n/etc/ftproxy/config.toml:14: backend: missing"},
		Sessions: 7, SessionsLimit: 2500, SessionsTotal: 12345, Transfers: 3,
		Frontends: []admin.FrontendStatus{
			{Name: "internal", Backend: "legacy", Listen: []string{"10.0.0.1:21"}},
			{Name: "public", Backend: "legacy", Listen: []string{"0.0.0.0:21", "[::]:21"}, Sessions: 7},
		},
		Ranges: []admin.RangeStatus{
			{Address: "10.0.0.1", Ports: "31000-31099", Size: 100, Held: 2},
			{Address: "203.0.113.9", Ports: "30000-30099", Size: 100, Pending: 12, Held: 3, Waiting: 1},
		},
		Descriptors: admin.DescriptorStatus{Used: 40, Limit: 524288},
	}
	if got := statusScreen(st, noon); got != wantScreen {
		t.Errorf("\n%s\nwant\n%s", got, wantScreen)
	}
}

const wantBareScreen = `version        (devel)
state          draining
process        1, for 0s, since 2026-11-22 12:00:00
in force       for 0s, since 2026-11-22 12:00:00
last reload    done 59s ago, at 2026-11-22 11:59:01
sessions       0 of 1 now, 0 since the start
transfers      0 now

frontend  backend  sessions  listens on
public    legacy          0

no data ports are in use
`

// What a service does not know is left out; a clock that was set back does no harm.
func TestStatusScreenBare(t *testing.T) {
	st := admin.Status{
		Version: "(devel)", State: admin.Draining, PID: 1, Started: noon, ConfiguredAt: noon, SessionsLimit: 1,
		LastReload: &admin.ReloadStatus{At: noon.Add(-59 * time.Second), OK: true},
		Frontends:  []admin.FrontendStatus{{Name: "public", Backend: "legacy"}},
	}
	if got := statusScreen(st, noon); got != wantBareScreen {
		t.Errorf("\n%s\nwant\n%s", got, wantBareScreen)
	}
	st.LastReload = nil
	if got := statusScreen(st, noon.Add(-time.Hour)); !strings.Contains(got, "\nin force       for 0s, since 2026-11-22 12:00:00\nlast reload    none\n") {
		t.Errorf("\n%s", got)
	}
}

// The longest that there is fits a terminal, and no address is lost.
func TestStatusScreenWidth(t *testing.T) {
	const address = "2001:db8:1234:5678:9abc:def0:1234:5678"
	st := admin.Status{
		Version: "v0.0.0-20261122233709-e06b8aab1e07+dirty", PID: 4194304, Started: noon.Add(-9999 * time.Hour), ConfiguredAt: noon.Add(-9999 * time.Hour),
		LastReload: &admin.ReloadStatus{At: noon.Add(-9999 * time.Hour), Error: strings.Repeat("a fault that is long\n", 7) + strings.Repeat("word ", 40)},
		Sessions:   1 << 30, SessionsLimit: 1 << 30, SessionsTotal: 1 << 60, Transfers: 1 << 30,
		Frontends: []admin.FrontendStatus{
			{Name: strings.Repeat("ü", 64), Backend: strings.Repeat("b", 30) + "end", Listen: []string{"[" + address + "]:65535", "192.0.2.1:21"}, Sessions: 1 << 30},
			{Name: "public", Backend: "legacy"},
		},
		Ranges: []admin.RangeStatus{{Address: address, Ports: "10000-65535", Size: 55536, Pending: 55536, Held: 55536, Waiting: 55536}},
	}
	got := statusScreen(st, noon)
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(line) - 1; n > screenWidth {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	for _, part := range []string{
		"\n    [" + address + "]:65535\n    192.0.2.1:21\npublic ",
		"\n" + strings.Repeat("ü", 15) + "…" + strings.Repeat("ü", 14) + "  bbbbbbbbbbbbbbb…bbbbbbbbbbbend  1073741824\n",
		"\n" + address + " 10000-65535 55536   55536 55536   55536\n",
		"\n  and 3 more; the log has them all\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
}

func TestAge(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {-time.Hour, "0s"}, {59*time.Second + 999*time.Millisecond, "59s"}, {time.Minute, "1m 0s"},
		{time.Hour + 59*time.Second, "1h 0m"}, {23*time.Hour + 59*time.Minute, "23h 59m"}, {49 * time.Hour, "2d 1h"}, {400 * 24 * time.Hour, "400d 0h"},
	}
	for _, tt := range tests {
		if got := age(tt.d); got != tt.want {
			t.Errorf("age(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

// A fault is broken between words and never within one.
func TestWrap(t *testing.T) {
	long := strings.Repeat("x", screenWidth)
	tests := []struct{ text, want string }{
		{"one two", "  one two\n"},
		{long, "  " + long + "\n"},
		{"a " + long + " b", "  a\n    " + long + "\n    b\n"},
		{"", "  \n"},
	}
	for _, tt := range tests {
		var b strings.Builder
		wrap(&b, tt.text, "  ", "    ")
		if got := b.String(); got != tt.want {
			t.Errorf("wrap(%q) = %q, want %q", fmt.Sprintf("%.20s", tt.text), got, tt.want)
		}
	}
}
