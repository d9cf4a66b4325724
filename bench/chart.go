//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A panel is one row of results as bars.
type panel struct {
	title        string
	mode, metric string
	decimals     int
}

var panels = []panel{
	{"Download: CPU seconds per GB", "download", "CPU s/GB", 2},
	{"Download: MB/s", "download", "MB/s", 0},
	{"1 KiB transfers, 8 clients: CPU µs each", "1 KiB, 8 clients", "CPU µs each", 0},
	{"1 KiB transfers, 8 clients: p99 in ms", "1 KiB, 8 clients", "p99 ms", 1},
	{"Logins per second, 64 clients", "logins, 64 clients", "per second", 0},
	{"Memory of an idle session: KiB, with the kernel's", "", "KiB each, kernel included", 0},
}

const (
	panelWidth  = 430
	barHeight   = 18
	labelWidth  = 150
	panelMargin = 26
)

// chart draws the panels two by two.
func (b *bench) chart(m machine) string {
	rows := 0
	for _, p := range b.peers {
		if p.name != other && !b.absent[p.name] {
			rows++
		}
	}
	panelHeight := rows*barHeight + 40
	height := (len(panels)+1)/2*panelHeight + 36
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", 2*panelWidth, height)
	fmt.Fprintf(&s, "<title>ftproxy beside its peers</title>\n")
	fmt.Fprintf(&s, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	for k, p := range panels {
		b.panel(&s, p, k%2*panelWidth, k/2*panelHeight)
	}
	fmt.Fprintf(&s, `<text x="12" y="%d" fill="#666" font-size="10">%s</text>`+"\n", height-20, html.EscapeString(m.String()))
	fmt.Fprintf(&s, `<text x="12" y="%d" fill="#666" font-size="10">%s</text>`+"\n", height-7,
		"Loopback; the proxy on one core, client and server on another. Medians; make bench measures again.")
	s.WriteString("</svg>\n")
	return s.String()
}

func (b *bench) panel(s *strings.Builder, p panel, x, y int) {
	value := func(peer peer) float64 {
		if p.mode != "" {
			return b.results.median(p.mode, p.metric, peer.name)
		}
		// Of as many sessions as the peer was given, up to 1,000.
		best := math.NaN()
		for _, n := range []int{100, 500, 1000} {
			if v := b.results.median(idleName(n), p.metric, peer.name); !math.IsNaN(v) {
				best = v
			}
		}
		return best
	}
	most := 0.0
	for _, peer := range b.peers {
		if v := value(peer); v > most {
			most = v
		}
	}
	fmt.Fprintf(s, `<text x="%d" y="%d" font-weight="bold" fill="#222">%s</text>`+"\n", x+12, y+24, html.EscapeString(p.title))
	at := y + 34
	for _, peer := range b.peers {
		if peer.name == other || b.absent[peer.name] {
			continue
		}
		v := value(peer)
		colour := "#9ab"
		if peer.name == ours {
			colour = "#1a6fb5"
		}
		fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="end" fill="#222">%s</text>`, x+labelWidth-6, at+13, html.EscapeString(peer.title))
		switch {
		case math.IsNaN(v):
			fmt.Fprintf(s, `<text x="%d" y="%d" fill="#999">–</text>`+"\n", x+labelWidth, at+13)
		default:
			width := int(v / most * float64(panelWidth-labelWidth-panelMargin-44))
			fmt.Fprintf(s, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, x+labelWidth, at+2, max(width, 1), barHeight-4, colour)
			fmt.Fprintf(s, `<text x="%d" y="%d" fill="#222">%.*f</text>`+"\n", x+labelWidth+width+5, at+13, p.decimals, v)
		}
		at += barHeight
	}
}
