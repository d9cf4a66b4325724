package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// crossed is what TestCrossings has seen: the verb that a server was told, or the
// reply that a client got, by the server's name.
var crossed crossings

type crossings struct {
	mu    sync.Mutex
	cells map[string]map[crossing]string
}

func (x *crossings) add(server string, c crossing, cell string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cells == nil {
		x.cells = make(map[string]map[crossing]string)
	}
	if x.cells[server] == nil {
		x.cells[server] = make(map[crossing]string)
	}
	x.cells[server][c] = cell
}

func checkModePage(t *testing.T) { t.Log(crossed.table()) }

// table is that part of docs/compatibility.md.
func (x *crossings) table() string {
	var w strings.Builder
	var replies []string
	for _, server := range crossedServers {
		for _, ipv6 := range []bool{false, true} {
			fmt.Fprintf(&w, "\n### %s at %s\n\n| client | %s |\n|%s\n", server, family(ipv6), strings.Join(dataModes, " | "), strings.Repeat("---|", 1+len(dataModes)))
			for _, m := range clientModes() {
				fmt.Fprintf(&w, "| %s |", m)
				for _, data := range dataModes {
					cell := x.cells[server][crossing{m, data, ipv6}]
					if code, _, refused := strings.Cut(cell, " "); refused {
						i := slices.Index(replies, cell)
						if i < 0 {
							i, replies = len(replies), append(replies, cell)
						}
						cell = fmt.Sprintf("%s %c", code, 'a'+i)
					}
					fmt.Fprintf(&w, " %s |", cell)
				}
				w.WriteByte('\n')
			}
		}
	}
	w.WriteByte('\n')
	for i, reply := range replies {
		fmt.Fprintf(&w, "- %c: `%s`\n", 'a'+i, reply)
	}
	return w.String()
}

// clientModes are what a client can say.
func clientModes() (all []mode) {
	for _, ipv6 := range []bool{false, true} {
		for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
			all = append(all, mode{verb, ipv6})
		}
	}
	return all
}
