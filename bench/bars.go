//go:build linux

package main

import (
	"fmt"
	"math"
	"strings"
)

// A bar is something that ftproxy is to reach.
type bar struct {
	what string
	want string
	// figure returns what was measured, as text, and whether it is enough. The
	// text is "" where it was not measured.
	figure func(*results, plan) (string, bool)
}

// verdict is a bar with its figure.
type verdict struct {
	What    string `json:"what"`
	Want    string `json:"want"`
	Got     string `json:"got"`
	Reached bool   `json:"reached"`
	Missing bool   `json:"not_measured,omitempty"`
}

func verdicts(r *results, p plan) (all []verdict) {
	for _, b := range bars {
		got, ok := b.figure(r, p)
		v := verdict{What: b.what, Want: b.want, Got: got, Reached: ok, Missing: got == ""}
		if v.Missing {
			v.Got = "not measured"
			v.Reached = false
		}
		all = append(all, v)
	}
	return all
}

func (v verdict) mark() string {
	switch {
	case v.Missing:
		return "–"
	case v.Reached:
		return "reached"
	}
	return "MISSED"
}

var bars = []bar{
	times("download", "CPU s/GB", floor, "≤", 1.15),
	times("download", "CPU s/GB", suse, "≤", 0.5),
	times("download", "CPU s/GB", modProxy, "≤", 0.42),
	times("download", "MB/s", suse, "≥", 1.4),
	times("upload", "CPU s/GB", floor, "≤", 1.15),
	times("upload", "CPU s/GB", suse, "≤", 0.5),
	times("upload", "CPU s/GB", modProxy, "≤", 0.42),
	times("upload", "MB/s", suse, "≥", 1.4),
	{"500 transfers at once: the smallest share", "≥ 0.5", func(r *results, _ plan) (string, bool) {
		return figure(r.median(fairName(500), "smallest share", ours), "", "≥", 0.5)
	}},
	times("1 KiB, 8 clients", "CPU µs each", floor, "≤", 1.5),
	times("1 KiB, 8 clients", "p99 ms", haproxy, "≤", 1.3),
	{"1 KiB: steps of 40 ms, 200 ms or 1 s", "none", stepsFigure},
	times("logins, 8 clients", "per second", floor, "≥", 0.85),
	times("logins, 64 clients", "per second", floor, "≥", 0.85),
	{"logins: errors", "0", loginErrors},
	times("NOOP", "µs", floor, "≤", 1.3),
	{"memory of an idle session: 1,000", "≤ 22 KiB", memory(1000)},
	{"memory of an idle session: 5,000", "≤ 22 KiB", memory(5000)},
	{"10 ports: pending from one address", "10", portsFigure("pending, 1 address", 10)},
	{"10 ports: the next waits its turn", "yes", waitsFigure},
	{"10 ports: pending from 20 addresses", "200", portsFigure("pending, 20 addresses", 200)},
	{"10 ports: outside the range", "0", portsFigure("outside", 0)},
	{"10 ports: failed", "0", portsFigure("failed", 0)},
	{"memory of an idle session: 10,000, or what descriptors allow", "≤ 22 KiB", memory(10000)},
	{"memory each, from 100 sessions to 10,000", "± 10 %", flat("KiB each, kernel included")},
	{"CPU to open a session, from 100 sessions to 10,000", "± 10 %", flat("CPU µs each to open")},
	{"start to greeting", "< 50 ms", func(r *results, _ plan) (string, bool) {
		return figure(r.median(startMode, "ms", ours), " ms", "<", 50)
	}},
	times(bulkName(inFront, false), "CPU s/GB", modProxy, "≤", 0.65),
	times(bulkName(inFront, true), "CPU s/GB", modProxy, "≤", 0.65),
	times(bulkName(bothSides, false), "CPU s/GB", modProxy, "≤", 0.6),
	times(bulkName(bothSides, true), "CPU s/GB", modProxy, "≤", 0.6),
	times(loginName(usersTLS), "per second", direct, "≥", 0.5),
	{"memory of an idle session: TLS in front", "≤ 60 KiB", memoryTLS(inFront)},
	{"memory of an idle session: TLS on both sides", "≤ 60 KiB", memoryTLS(bothSides)},
}

// times is a bar in terms of a peer's figure.
func times(mode, metric, peer, sign string, limit float64) bar {
	what := fmt.Sprintf("%s: %s", mode, metric)
	return bar{what, fmt.Sprintf("%s %.3g × %s", sign, limit, peer), func(r *results, _ plan) (string, bool) {
		return figure(r.ratio(mode, metric, ours, peer), " ×", sign, limit)
	}}
}

func figure(got float64, unit, sign string, limit float64) (string, bool) {
	if math.IsNaN(got) || math.IsInf(got, 0) {
		return "", false
	}
	text := fmt.Sprintf("%.3g%s", got, unit)
	switch sign {
	case "≤":
		return text, got <= limit
	case "<":
		return text, got < limit
	}
	return text, got >= limit
}

// stepsFigure looks at every mode of small transfers.
func stepsFigure(r *results, _ plan) (string, bool) {
	var found []string
	looked := false
	for _, mode := range r.modes {
		h := r.times[mode][ours]
		if h == nil || !strings.HasPrefix(mode, "1 KiB") {
			continue
		}
		looked = true
		for _, s := range steps {
			if share, out := h.share(s); out {
				found = append(found, fmt.Sprintf("%s: %s in %.2f %%", mode, s.name, 100*share))
			}
		}
	}
	if !looked {
		return "", false
	}
	if len(found) == 0 {
		return "none", true
	}
	return strings.Join(found, "; "), false
}

func loginErrors(r *results, _ plan) (string, bool) {
	total, looked := 0.0, false
	for _, at := range r.rows {
		if strings.HasPrefix(at.mode, "logins") && at.metric == "errors" {
			for _, n := range r.samples[at][ours] {
				looked = true
				total += n
			}
		}
	}
	if !looked {
		return "", false
	}
	return fmt.Sprintf("%.0f", total), total == 0
}

func memory(n int) func(*results, plan) (string, bool) {
	return func(r *results, p plan) (string, bool) { return memoryFigure(r, idleName(min(n, p.most)), 22) }
}

func memoryTLS(way protection) func(*results, plan) (string, bool) {
	return func(r *results, p plan) (string, bool) {
		return memoryFigure(r, idleNameTLS(min(p.idleTLS, p.most), way), 60)
	}
}

// memoryFigure is with the kernel's memory where that can be told.
func memoryFigure(r *results, mode string, most float64) (string, bool) {
	got := r.median(mode, "KiB each, kernel included", ours)
	if math.IsNaN(got) {
		got = r.median(mode, "KiB each, PSS", ours)
		text, _ := figure(got, " KiB (PSS alone)", "≤", most)
		return text, false
	}
	return figure(got, " KiB", "≤", most)
}

func portsFigure(metric string, want float64) func(*results, plan) (string, bool) {
	return func(r *results, _ plan) (string, bool) {
		samples := r.samples[row{portsMode, metric}][ours]
		if len(samples) == 0 {
			return "", false
		}
		got := 0.0
		for _, n := range samples {
			got += n
		}
		return fmt.Sprintf("%.0f", got), got == want
	}
}

func waitsFigure(r *results, _ plan) (string, bool) {
	got := r.median(portsMode, "the next waits its turn", ours)
	switch {
	case math.IsNaN(got):
		return "", false
	case got == 1:
		return "yes", true
	}
	return "no", false
}

// flat is how far the figures for more and more sessions lie from their middle.
func flat(metric string) func(*results, plan) (string, bool) {
	return func(r *results, p plan) (string, bool) {
		least, most := math.Inf(1), math.Inf(-1)
		for _, n := range p.idle {
			n = min(n, p.most)
			v := r.median(idleName(n), metric, ours)
			if math.IsNaN(v) {
				return "", false
			}
			least, most = min(least, v), max(most, v)
		}
		if len(p.idle) < 2 {
			return "", false
		}
		away := 100 * (most - least) / (most + least)
		return fmt.Sprintf("± %.1f %% (%.3g to %.3g)", away, least, most), away <= 10
	}
}
