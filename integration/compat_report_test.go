package integration

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// A cell is what came of a scenario with a pair. The zero cell: it works.
type cell struct {
	known  *failure // it does not work
	cannot *limit   // the client has no means for it
}

// report collects the cells of the full run; page writes them down.
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

// write writes the page, unless only a part of the tests ran.
func (r *results) write(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.complete(); err != nil {
		return fmt.Errorf("%s is not written: %w", path, err)
	}
	return os.WriteFile(path, []byte(r.page(time.Now().UTC().Format(time.DateOnly))), 0o644)
}

// complete tells what the run lacks.
func (r *results) complete() error {
	for _, p := range allPairs() {
		for _, sc := range scenarios {
			if _, ok := r.cells[p][sc.name]; !ok {
				return fmt.Errorf("%s %s did not run", p, sc.name)
			}
		}
	}
	for _, s := range serverKinds {
		for _, m := range allModes {
			if _, ok := r.ipv6[s.name][m.String()]; !ok {
				return fmt.Errorf("TestServersIPv6 of %s in mode %s did not run", s.name, m)
			}
		}
	}
	for _, peer := range append(serverNames(), clientNames()...) {
		for _, what := range largeCases {
			if _, ok := r.large[peer][what]; !ok {
				return fmt.Errorf("TestLarge of %s, %s, did not run", peer, what)
			}
		}
	}
	if err := crossed.complete(); err != nil {
		return err
	}
	if err := protected.complete(); err != nil {
		return err
	}
	if len(r.peers) != len(serverKinds)+len(clientKinds) {
		return errors.New("TestVersions did not run")
	}
	var unused []string
	for i := range knownFailures {
		if !r.any(func(_ pair, _ string, c cell) bool { return c.known == &knownFailures[i] }) {
			unused = append(unused, knownFailures[i].reason)
		}
	}
	if len(unused) > 0 {
		return fmt.Errorf("known failures that do not happen any more:\n%s", strings.Join(unused, "\n"))
	}
	return nil
}

// any reports whether a cell is as f has it.
func (r *results) any(f func(p pair, scenario string, c cell) bool) bool {
	for p, row := range r.cells {
		for scenario, c := range row {
			if f(p, scenario, c) {
				return true
			}
		}
	}
	return false
}

func serverNames() (list []string) {
	for _, k := range serverKinds {
		list = append(list, k.name)
	}
	return list
}

func clientNames() (list []string) {
	for _, k := range clientKinds {
		list = append(list, k.name)
	}
	return list
}

func scenarioNames() (list []string) {
	for _, sc := range scenarios {
		list = append(list, sc.name)
	}
	return list
}
