package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A cell is what came of a scenario with a pair.
type cell struct {
	cannot bool     // the client has no such command
	known  *failure // nil: it works
}

// report collects the cells of the full run.
var report results

type results struct {
	mu    sync.Mutex
	cells map[pair]map[string]cell
	large map[string]map[string]cell // by server or client, and case
	ipv6  map[string]map[string]cell // servers reached over IPv6, by server and mode
	peers [][3]string                // kind, name, version
}

func (r *results) add(p pair, scenario string, c cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cells == nil {
		r.cells = make(map[pair]map[string]cell)
	}
	if r.cells[p] == nil {
		r.cells[p] = make(map[string]cell)
	}
	r.cells[p][scenario] = c
}

func (r *results) addLarge(peer, what string, c cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	addTo(&r.large, peer, what, c)
}

func (r *results) addIPv6(server, mode string, c cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	addTo(&r.ipv6, server, mode, c)
}

func addTo(m *map[string]map[string]cell, row, column string, c cell) {
	if *m == nil {
		*m = make(map[string]map[string]cell)
	}
	if (*m)[row] == nil {
		(*m)[row] = make(map[string]cell)
	}
	(*m)[row][column] = c
}

// TestVersions makes sure that every peer tells its version.
func TestVersions(t *testing.T) {
	var peers [][3]string
	for _, k := range serverKinds {
		v, err := k.version(t)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		peers = append(peers, [3]string{"server", k.name, v})
	}
	for _, k := range clientKinds {
		v, err := k.find(t).version()
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		peers = append(peers, [3]string{"client", k.name, v})
	}
	report.mu.Lock()
	defer report.mu.Unlock()
	report.peers = peers
}

// write writes the report, unless only a part of the tests ran.
func (r *results) write(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	runs := 0
	for _, p := range allPairs() {
		for _, sc := range scenarios {
			if _, ok := r.cells[p][sc.name]; !ok {
				return fmt.Errorf("no report: %s %s did not run", p, sc.name)
			}
			runs++
		}
	}
	if len(r.peers) == 0 || len(r.ipv6) != len(serverKinds) || len(r.large) != len(serverKinds)+len(clientKinds) {
		return errors.New("no report: TestVersions, TestLarge or TestServersIPv6 did not run whole")
	}
	notes, unused := r.notes()
	if len(unused) > 0 {
		return fmt.Errorf("no report: known failures that do not happen any more:\n%s", strings.Join(unused, "\n"))
	}
	var w strings.Builder
	fmt.Fprintf(&w, `# Compatibility

Written by `+"`make compat`"+` on %s, from real runs through ftproxy: %d servers × %d clients in their %d modes × %d scenarios,
which are %d runs. Do not edit: `+"`integration/compat_report_test.go`"+` writes this page, and a failure that is not in
`+"`integration/compat_known_test.go`"+`, with its reason, fails the run instead of changing the page. CI runs a sample of it
that has every server, every client and every mode.

All of it runs on loopback; "IPv6" is the client's side. The server is reached over IPv4, and over IPv6 in the table that says so.

## Peers

| | name | version |
|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), len(serverKinds), len(clientKinds), len(allPairs())/len(serverKinds), len(scenarios), runs)
	for _, p := range r.peers {
		fmt.Fprintf(&w, "| %s | %s | %s |\n", p[0], p[1], p[2])
	}
	r.writePairs(&w, notes)
	r.writeScenarios(&w, notes)
	r.writeOthers(&w)
	r.writeNotes(&w, notes)
	return os.WriteFile(path, []byte(w.String()), 0o644)
}

// notes numbers the known failures that happened.
func (r *results) notes() (numbers map[*failure]int, unused []string) {
	happened := make(map[*failure]bool)
	for _, row := range r.cells {
		for _, c := range row {
			happened[c.known] = true
		}
	}
	numbers = make(map[*failure]int)
	for i := range knownFailures {
		f := &knownFailures[i]
		if !happened[f] {
			unused = append(unused, f.reason)
			continue
		}
		numbers[f] = len(numbers) + 1
	}
	return numbers, unused
}

// sum is one cell of a table for many of the report.
func sum(cells []cell, notes map[*failure]int) string {
	var numbers []int
	worked := false
	for _, c := range cells {
		switch {
		case c.known != nil:
			if n := notes[c.known]; !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		case !c.cannot:
			worked = true
		}
	}
	var parts []string
	if worked {
		parts = append(parts, "✓")
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		parts = append(parts, fmt.Sprintf("[%d](#notes)", n))
	}
	if len(parts) == 0 {
		return "–"
	}
	return strings.Join(parts, " ")
}

func (r *results) writePairs(w *strings.Builder, notes map[*failure]int) {
	w.WriteString(`
## Each client in each mode with each server

✓: every scenario that the client can do works. ✓ with a number: all but what the note says. A number alone: nothing that
needs a data connection works.

| client | mode |`)
	header(w, names(serverKinds))
	for _, c := range clientKinds {
		for _, m := range c.modes {
			fmt.Fprintf(w, "| %s | %s |", c.name, m)
			for _, s := range serverKinds {
				row := r.cells[pair{s.name, c.name, m}]
				var cells []cell
				control := true // whatever worked needs no data connection
				for _, sc := range scenarios {
					cells = append(cells, row[sc.name])
					control = control && (row[sc.name].known != nil || row[sc.name].cannot || !sc.data)
				}
				text := sum(cells, notes)
				if control {
					text = strings.TrimPrefix(text, "✓ ")
				}
				fmt.Fprintf(w, " %s |", text)
			}
			w.WriteByte('\n')
		}
	}
}

func (r *results) writeScenarios(w *strings.Builder, notes map[*failure]int) {
	columns := make([]string, len(scenarios))
	for i, sc := range scenarios {
		columns[i] = sc.name
	}
	table := func(rows []string, in func(p pair, row string) bool) {
		header(w, columns)
		for _, row := range rows {
			fmt.Fprintf(w, "| %s |", row)
			for _, sc := range scenarios {
				var cells []cell
				for _, p := range allPairs() {
					if in(p, row) {
						cells = append(cells, r.cells[p][sc.name])
					}
				}
				fmt.Fprintf(w, " %s |", sum(cells, notes))
			}
			w.WriteByte('\n')
		}
	}
	w.WriteString(`
## What was done

–: the client has no such command. ✓ with a number: with some servers, or in some modes, the note holds.

| client |`)
	var clients []string
	for _, c := range clientKinds {
		clients = append(clients, c.name)
	}
	table(clients, func(p pair, row string) bool { return p.client == row })
	w.WriteString("\n| server |")
	table(names(serverKinds), func(p pair, row string) bool { return p.server == row })
	w.WriteString(`
*empty* is a file of no bytes both ways, *parallel* several downloads at once, *tree* a folder with its folders; *spaces*,
*utf8* and *latin1* are names with which everything is done that the client can do.
`)
}

func (r *results) writeOthers(w *strings.Builder) {
	w.WriteString("\n## 300 MB, and 500 files in one session\n\n| peer |")
	header(w, largeCases)
	var rows []string
	rows = append(rows, names(serverKinds)...)
	for _, c := range clientKinds {
		rows = append(rows, c.name)
	}
	for i, row := range rows {
		kind := "client"
		if i < len(serverKinds) {
			kind = "server"
		}
		fmt.Fprintf(w, "| %s %s |", kind, row)
		for _, what := range largeCases {
			fmt.Fprintf(w, " %s |", sum([]cell{r.large[row][what]}, nil))
		}
		w.WriteByte('\n')
	}
	w.WriteString("\n## Servers reached over IPv6, by curl in these modes\n\n| server |")
	header(w, ipv6Columns())
	for _, s := range serverKinds {
		fmt.Fprintf(w, "| %s |", s.name)
		for _, m := range ipv6Columns() {
			fmt.Fprintf(w, " %s |", sum([]cell{r.ipv6[s.name][m]}, nil))
		}
		w.WriteByte('\n')
	}
}

func (r *results) writeNotes(w *strings.Builder, notes map[*failure]int) {
	w.WriteString("\n## Notes\n\n")
	for i := range knownFailures {
		f := &knownFailures[i]
		var what []string
		count := 0
		for _, sc := range scenarios {
			n := 0
			for _, row := range r.cells {
				if row[sc.name].known == f {
					n++
				}
			}
			if count += n; n > 0 {
				what = append(what, sc.name)
			}
		}
		works := "fails"
		if f.direct {
			works = "works"
		}
		fmt.Fprintf(w, "%d. %s. (%s; %d runs.) Without ftproxy: %s.\n", notes[f], f.reason, strings.Join(what, ", "), count, works)
	}
}

func header(w *strings.Builder, columns []string) {
	before := strings.Count(w.String()[strings.LastIndexByte(w.String(), '\n')+1:], "|") - 1
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c)
	}
	w.WriteString("\n|" + strings.Repeat("---|", before+len(columns)) + "\n")
}

func names(kinds []serverKind) (list []string) {
	for _, k := range kinds {
		list = append(list, k.name)
	}
	return list
}
