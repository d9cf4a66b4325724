package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/firewall"
)

var update = flag.Bool("update", false, "rewrite docs/firewalls.md and docs/transparent.md with what the code says now")

var (
	docBlock  = regexp.MustCompile("(?s)```(toml|console)\n(.*?)```")
	dataModes = regexp.MustCompile(`(?s)(<!-- data modes: [^\n]*-->\n).*?(<!-- end -->)`)
)

// What docs/firewalls.md and docs/transparent.md show of ftproxy firewall is what
// it prints, and the table of data modes is what the rules permit.
func TestFirewallDocs(t *testing.T) {
	for page, commands := range map[string]int{"firewalls.md": 3, "transparent.md": 2} {
		t.Run(page, func(t *testing.T) { checkFirewallDocs(t, page, commands) })
	}
}

func checkFirewallDocs(t *testing.T, page string, want int) {
	path := filepath.Join("..", "..", "docs", page)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), defaultConfig)
	commands := 0
	text := docBlock.ReplaceAllStringFunc(string(old), func(block string) string {
		m := docBlock.FindStringSubmatch(block)
		if m[1] == "toml" {
			if err := os.WriteFile(conf, []byte(m[2]), 0o644); err != nil {
				t.Fatal(err)
			}
			return block
		}
		line, _, _ := strings.Cut(m[2], "\n")
		args, ours := strings.CutPrefix(line, "$ ftproxy firewall")
		if !ours {
			return block
		}
		commands++
		var stdout, stderr bytes.Buffer
		p := &program{stdout: &stdout, stderr: &stderr}
		if code := p.run(t.Context(), append([]string{"firewall", "-config", conf}, strings.Fields(args)...)); code != exitOK {
			t.Fatalf("%s: exit code %d: %s", line, code, &stderr)
		}
		return "```console\n" + line + "\n" + stdout.String() + "```"
	})
	if commands != want {
		t.Errorf("%d commands in %s, want %d", commands, path, want)
	}
	if page == "firewalls.md" && !dataModes.MatchString(text) {
		t.Errorf("no table of data modes in %s", path)
	}
	text = dataModes.ReplaceAllString(text, "${1}"+modesTable(t)+"${2}")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(old) {
		t.Errorf("%s does not say what the code says; go test ./cmd/ftproxy -run Firewall -update writes it anew", path)
	}
}

// modesTable is the table of what each data mode needs of the inside firewall.
func modesTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| `data` | ftproxy → servers, their passive ports | servers → ftproxy, `data_ports` |\n|---|---|---|\n")
	for _, mode := range []config.DataMode{
		config.DataClient, config.DataPassive, config.DataPASV, config.DataEPSV, config.DataActive, config.DataPORT, config.DataEPRT,
	} {
		c, err := config.Parse(defaultConfig, fmt.Appendf(nil,
			"[frontend.a]\nlisten = \":21\"\nbackend = \"b\"\n[backend.b]\nservers = \"10.0.0.5\"\ndata = %q\n", mode))
		if err != nil {
			t.Fatal(err)
		}
		needs := map[firewall.Kind]string{firewall.Passive: "no", firewall.Active: "no"}
		for _, f := range setup(c).Flows() {
			if f.Place == firewall.Inside {
				needs[f.Kind] = "yes"
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", mode, needs[firewall.Passive], needs[firewall.Active])
	}
	return b.String()
}
