//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A row names what was measured.
type row struct{ mode, metric string }

// results are all samples, one a round, and the problems on the way.
type results struct {
	rows     []row // in order of appearance
	samples  map[row]map[string][]float64
	times    map[string]map[string]*histogram // by mode and peer
	modes    []string                         // that have a histogram
	problems []string
}

func (r *results) add(mode, metric, peer string, value float64) {
	at := row{mode, metric}
	if r.samples == nil {
		r.samples = make(map[row]map[string][]float64)
		r.times = make(map[string]map[string]*histogram)
	}
	if r.samples[at] == nil {
		r.rows = append(r.rows, at)
		r.samples[at] = make(map[string][]float64)
	}
	r.samples[at][peer] = append(r.samples[at][peer], value)
}

// drive adds what a drive has measured.
func (r *results) drive(mode string, i *instance, d *drive) {
	n := len(d.took)
	r.add(mode, "per second", i.name, float64(n)/d.window.Seconds())
	if n > 0 {
		if i.group != nil {
			r.add(mode, "CPU µs each", i.name, micros(d.cpu)/float64(n))
		}
		slices.Sort(d.took)
		r.add(mode, "p50 ms", i.name, micros(percentile(d.took, 50))/1e3)
		r.add(mode, "p99 ms", i.name, micros(percentile(d.took, 99))/1e3)
	}
	r.add(mode, "errors", i.name, float64(d.failed))
	if r.times[mode] == nil {
		r.times[mode] = make(map[string]*histogram)
		r.modes = append(r.modes, mode)
	}
	h := r.times[mode][i.name]
	if h == nil {
		h = &histogram{}
		r.times[mode][i.name] = h
	}
	for _, took := range d.took {
		h.add(took)
	}
}

func (b *bench) problem(format string, args ...any) {
	b.say("  "+format, args...)
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.results.problems, text) {
		b.results.problems = append(b.results.problems, text)
	}
}

// median returns the median of a row's samples for a peer, or NaN.
func (r *results) median(mode, metric, peer string) float64 {
	return median(r.samples[row{mode, metric}][peer])
}

// ratio returns how a peer's figure compares with another's: the median of the
// rounds' ratios where both have as many, because what the machine does to a
// round it does to both.
func (r *results) ratio(mode, metric, peer, to string) float64 {
	a, b := r.samples[row{mode, metric}][peer], r.samples[row{mode, metric}][to]
	if len(a) != len(b) {
		return median(a) / median(b)
	}
	var each []float64
	for i := range a {
		each = append(each, a[i]/b[i])
	}
	return median(each)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// percentile of sorted times; of none it is zero.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// A histogram counts times, eight buckets for each doubling from 1/16 ms.
type histogram struct {
	count [8 * 18]int // up to 16 s
	total int
}

const lowest = time.Millisecond / 16

func bucket(d time.Duration) int {
	if d <= lowest {
		return 0
	}
	return min(int(8*math.Log2(float64(d)/float64(lowest))), len(histogram{}.count)-1)
}

func (h *histogram) add(d time.Duration) {
	h.count[bucket(d)]++
	h.total++
}

// octaves returns the counts of whole doublings: up to 1/8 ms, 1/4 ms, and so
// on.
func (h *histogram) octaves() (all []int) {
	for i := 0; i < len(h.count); i += 8 {
		n := 0
		for _, c := range h.count[i : i+8] {
			n += c
		}
		all = append(all, n)
	}
	return all
}

// A step is a time that stands out because a timer of TCP stands behind it.
type step struct {
	name     string
	from, to time.Duration
}

var steps = []step{
	{"40 ms", 39 * time.Millisecond, 50 * time.Millisecond},    // a delayed acknowledgement
	{"200 ms", 199 * time.Millisecond, 230 * time.Millisecond}, // a retransmission
	{"1 s", 995 * time.Millisecond, 1150 * time.Millisecond},   // of a SYN
}

// share is the part of the times that a step takes, and whether it stands out: it
// is more than one in 2000, and three times what the same width on either side
// has. On a machine that stands still now and then, single times are anywhere.
func (h *histogram) share(s step) (share float64, out bool) {
	if h.total == 0 {
		return 0, false
	}
	from, to := bucket(s.from), bucket(s.to)
	width := to - from + 1
	sum := func(from int) (n int) {
		for i := max(from, 0); i < min(from+width, len(h.count)); i++ {
			n += h.count[i]
		}
		return n
	}
	here := sum(from)
	near := max(sum(from-width), sum(to+1))
	return float64(here) / float64(h.total), here > 2 && here*2000 > h.total && here > 3*near
}
