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

// protected is what TestTLS has seen.
var protected combinations

// combinations has whether a case worked.
type combinations struct {
	mu     sync.Mutex
	worked map[tlsCase]bool
}

func (x *combinations) add(c tlsCase, worked bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.worked == nil {
		x.worked = make(map[tlsCase]bool)
	}
	x.worked[c] = worked
}

// complete tells what the run lacks.
func (x *combinations) complete() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range allTLS() {
		if c.limit() == nil && !x.worked[c] {
			return fmt.Errorf("TestTLS of %s did not run, or failed", c)
		}
	}
	return nil
}

// section is that part of docs/compatibility.md. A whole run has no failure, so it
// is of the code alone.
func (x *combinations) section() string {
	var w strings.Builder
	cases, transfers := 0, 0
	for _, c := range allTLS() {
		if cases++; c.limit() == nil {
			transfers += 2
		}
	}
	fmt.Fprintf(&w, `
## TLS on both sides

How clients are protected (rows: off, AUTH TLS with PROT P or PROT C, implicit) × how the server is (columns: the backend's
`+"`tls`"+`, off, explicit with `+"`data`"+` private or clear, implicit), each with clients in passive and active mode and the
backend's `+"`data`"+` client, passive and active: %d combinations, %d transfers, a download and an upload each, compared byte by
byte; ftproxy's log confirms which data connections were protected. ✓: all six modes; with a letter: those that its reason
leaves. Which clients resume TLS sessions is in [tls.md](tls.md#session-reuse).
`, cases, transfers)
	for _, server := range tlsServers {
		fmt.Fprintf(&w, "\n### TLS with %s\n\n| client | %s |\n|%s\n", server, strings.Join(tlsBacks, " | "), strings.Repeat("---|", 1+len(tlsBacks)))
		for _, client := range tlsClients {
			for _, front := range tlsFronts {
				fmt.Fprintf(&w, "| %s, %s |", client, front)
				for _, back := range tlsBacks {
					fmt.Fprintf(&w, " %s |", tlsCell(tlsCase{server: server, client: client, front: front, back: back}))
				}
				w.WriteByte('\n')
			}
		}
	}
	w.WriteByte('\n')
	for i, l := range tlsLimits {
		fmt.Fprintf(&w, "- %s: %s\n", letter(i), l.reason)
	}
	return w.String()
}

// tlsCell sums up the modes of a case.
func tlsCell(c tlsCase) string {
	sign := "–"
	var letters []string
	for _, c.mode = range tlsModes {
		l := c.limit()
		if l == nil {
			sign = "✓"
			continue
		}
		name := letter(slices.IndexFunc(tlsLimits, func(o tlsLimit) bool { return o == *l }))
		if !slices.Contains(letters, name) {
			letters = append(letters, name)
		}
	}
	if len(letters) > 0 {
		sign += " (" + strings.Join(letters, ", ") + ")"
	}
	return sign
}

// checkPage compares the committed page with the code.
func (x *combinations) checkPage(t *testing.T) {
	t.Helper()
	if full {
		return
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), x.section()) {
		t.Errorf("docs/compatibility.md has other combinations of TLS than the code: make compat\n%s", x.section())
	}
}
