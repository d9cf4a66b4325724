//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"unicode/utf8"
)

// table writes everything for people.
func (b *bench) table(w io.Writer, m machine) {
	fmt.Fprintf(w, "\n%s\n", m)
	if m.Stolen >= 0.5 {
		fmt.Fprintf(w, "The hypervisor took %.0f %% of the CPU time away meanwhile.\n", m.Stolen)
	}
	fmt.Fprintf(w, "%s; medians of rounds by turns. Load and stub are one thread; pinned, they have one core and the proxy another.\n\n", b.plan.name)
	for _, p := range b.peers {
		version := b.versions[p.name]
		if version != "" {
			version = ": " + version
		}
		fmt.Fprintf(w, "  %-15s %s%s (%s)\n", p.name, p.title, version, p.blurb)
	}
	fmt.Fprintln(w)
	b.figures(w)
	b.distribution(w)
	if len(b.results.problems) > 0 {
		fmt.Fprintf(w, "Problems on the way:\n")
		for _, p := range b.results.problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
		fmt.Fprintln(w)
	}
	if b.against != "" {
		b.comparison(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\twant\tgot\t")
	for _, v := range verdicts(&b.results, b.plan) {
		if v.Missing && b.part {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.What, v.Want, v.Got, v.mark())
	}
	t.Flush()
}

// figures writes a line for each row and a column for each peer.
func (b *bench) figures(w io.Writer) {
	width := 0
	for _, at := range b.results.rows {
		width = max(width, utf8.RuneCountInString(at.mode+": "+at.metric))
	}
	line := func(name string, cell func(peer) string) {
		fmt.Fprintf(w, "%-*s", width, name)
		for _, p := range b.peers {
			fmt.Fprintf(w, "  %*s", max(7, len(p.name)), cell(p))
		}
		fmt.Fprintln(w)
	}
	line("", func(p peer) string { return p.name })
	for _, at := range b.results.rows {
		line(at.mode+": "+at.metric, func(p peer) string {
			v := b.results.median(at.mode, at.metric, p.name)
			if math.IsNaN(v) {
				return "–"
			}
			return short(v)
		})
	}
	fmt.Fprintln(w)
}

// short is a number with three digits that count.
func short(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v) && a < 1e6, a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// distribution writes how long things took, in parts of a hundred.
func (b *bench) distribution(w io.Writer) {
	for _, mode := range b.results.modes {
		fmt.Fprintf(w, "%s: %% that took up to so many ms\n", mode)
		t := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.AlignRight)
		fmt.Fprint(t, "\t")
		octaves := len((&histogram{}).octaves())
		for k := range octaves {
			fmt.Fprintf(t, "%s\t", strconv.FormatFloat(math.Pow(2, float64(k-3)), 'f', -1, 64))
		}
		fmt.Fprintln(t)
		for _, p := range b.peers {
			h := b.results.times[mode][p.name]
			if h == nil || h.total == 0 {
				continue
			}
			fmt.Fprintf(t, "%s\t", p.name)
			for _, n := range h.octaves() {
				if n == 0 {
					fmt.Fprint(t, "\t")
				} else {
					fmt.Fprintf(t, "%s\t", percent(n, h.total))
				}
			}
			for _, s := range steps {
				if share, out := h.share(s); out {
					fmt.Fprintf(t, " step at %s: %.2g %%", s.name, 100*share)
				}
			}
			fmt.Fprintln(t)
		}
		t.Flush()
		fmt.Fprintln(w)
	}
}

// percent is a part of a hundred, with what is more than nothing never 0.
func percent(n, total int) string {
	p := 100 * float64(n) / float64(total)
	switch {
	case p >= 9.5:
		return fmt.Sprintf("%.0f", p)
	case p >= 0.05:
		return fmt.Sprintf("%.1f", p)
	}
	return "<0.1"
}

// comparison writes ftproxy beside the other binary, with the range of the
// rounds' ratios: where it has 1 inside, nothing is known.
func (b *bench) comparison(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tother\tftproxy\tratio\trange\t")
	for _, at := range b.results.rows {
		before, now := b.results.samples[at][other], b.results.samples[at][ours]
		if len(before) == 0 || len(now) != len(before) {
			continue
		}
		least, most := math.Inf(1), math.Inf(-1)
		for i := range now {
			if before[i] != 0 {
				least, most = min(least, now[i]/before[i]), max(most, now[i]/before[i])
			}
		}
		if math.IsInf(least, 0) {
			continue // nothing but zeros
		}
		fmt.Fprintf(t, "%s: %s\t%s\t%s\t%.3f\t%.3f–%.3f\t\n", at.mode, at.metric, short(median(before)), short(median(now)),
			b.results.ratio(at.mode, at.metric, ours, other), least, most)
	}
	t.Flush()
	fmt.Fprintln(w)
}

// A document is a run as JSON.
type document struct {
	Machine  machine           `json:"machine"`
	Plan     string            `json:"plan"`
	Versions map[string]string `json:"versions"`
	Settings map[string]string `json:"settings"`
	Results  []documentRow     `json:"results"`
	Times    []documentTimes   `json:"times"`
	Bars     []verdict         `json:"bars"`
	Problems []string          `json:"problems,omitempty"`
}

type documentRow struct {
	Mode    string               `json:"mode"`
	Metric  string               `json:"metric"`
	Medians map[string]float64   `json:"medians"`
	Samples map[string][]float64 `json:"samples"`
}

type documentTimes struct {
	Mode string `json:"mode"`
	Peer string `json:"peer"`
	// UpTo are the upper ends of the buckets in milliseconds, Count how many
	// times fell in each.
	UpTo  []float64 `json:"up_to_ms"`
	Count []int     `json:"count"`
}

func (b *bench) document(m machine) document {
	d := document{Machine: m, Plan: b.plan.name, Versions: b.versions, Settings: make(map[string]string),
		Bars: verdicts(&b.results, b.plan), Problems: b.results.problems}
	for _, p := range b.peers {
		d.Settings[p.name] = p.blurb
	}
	for _, at := range b.results.rows {
		line := documentRow{at.mode, at.metric, make(map[string]float64), b.results.samples[at]}
		for peer, samples := range line.Samples {
			line.Medians[peer] = median(samples)
		}
		d.Results = append(d.Results, line)
	}
	for _, mode := range b.results.modes {
		for _, p := range b.peers {
			h := b.results.times[mode][p.name]
			if h == nil {
				continue
			}
			times := documentTimes{Mode: mode, Peer: p.name}
			for i, n := range h.count {
				if n > 0 {
					times.UpTo = append(times.UpTo, math.Round(1e3*math.Pow(2, float64(i+1)/8)/16)/1e3)
					times.Count = append(times.Count, n)
				}
			}
			d.Times = append(d.Times, times)
		}
	}
	return d
}

func (d document) write(name string) error {
	text, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if name == "-" {
		_, err = os.Stdout.Write(text)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}
