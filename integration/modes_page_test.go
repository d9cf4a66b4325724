package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// crossed is what TestCrossings has seen.
var crossed crossings

// crossings has, by the server's name, the verb that it was told, or the reply
// that the client got instead.
type crossings struct {
	mu    sync.Mutex
	cells map[string]map[crossing]string
}

func (x *crossings) add(server string, cells map[crossing]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cells == nil {
		x.cells = make(map[string]map[crossing]string)
	}
	x.cells[server] = cells
}

// complete tells what the run lacks.
func (x *crossings) complete() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !haveIPv6() {
		return fmt.Errorf("no IPv6 on loopback")
	}
	for _, server := range crossedServers {
		for _, c := range allCrossings() {
			if x.cells[server][c] == "" {
				return fmt.Errorf("TestCrossings of %s: %s did not run", server, c)
			}
		}
	}
	return nil
}

// section is that part of docs/compatibility.md.
func (x *crossings) section() string {
	var w strings.Builder
	fmt.Fprintf(&w, `
## Modes of both sides

What the client says (rows, with the family of its side) × the backend's key `+"`data`"+` (columns) × the server and its family:
%d cells. A verb is what the server was told, with a download and an upload that were compared byte by byte: the logs of ftproxy,
vsftpd and ProFTPD confirm it, and so do the addresses at both ends of each data connection. A number is the reply that the client
got instead, in full below the tables: IPv6 has no PASV and no PORT. With those as `+"`data`"+` ftproxy does not start for a server
that is an address of IPv6; here the server is a name that has one.
`, len(crossedServers)*2*len(clientModes())*len(dataModes))
	var replies []string
	for _, server := range crossedServers {
		for _, ipv6 := range []bool{false, true} {
			fmt.Fprintf(&w, "\n### %s reached over %s\n\n| client | %s |\n|%s\n", server, family(ipv6), strings.Join(dataModes, " | "), strings.Repeat("---|", 1+len(dataModes)))
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

// checkPage compares the committed page with this run, if it was a whole one.
func (x *crossings) checkPage(t *testing.T) {
	t.Helper()
	if err := x.complete(); err != nil || full {
		return
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), x.section()) {
		t.Errorf("docs/compatibility.md has other crossings than this run: make compat\n%s", x.section())
	}
}
