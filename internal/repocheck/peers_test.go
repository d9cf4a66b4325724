package repocheck

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	tableBreak = regexp.MustCompile(`\|\s*$`)
)

// A claim is a row of a table in docs/peers.md.
type claim struct {
	line     int
	pinnedBy string // the last cell
}

// claims are the rows of all tables whose last column is "pinned by".
func claims(t *testing.T) (all []claim) {
	t.Helper()
	inside := false
	for i, line := range strings.Split(document(t, "docs/peers.md"), "\n") {
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.ReplaceAll(tableBreak.ReplaceAllString(line, ""), `\|`, "/"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case !inside:
			if last != "pinned by" {
				t.Errorf("docs/peers.md:%d: the last column is %q, want \"pinned by\"", i+1, last)
			}
			inside = true
		case strings.Trim(last, "-") != "":
			all = append(all, claim{i + 1, last})
		}
	}
	return all
}

// Each claim of docs/peers.md names a test or a dialogue that exists, or says
// that nothing pins it and links to where it is from.
func TestPeersArePinned(t *testing.T) {
	tests := testFiles(t)
	rows := claims(t)
	if len(rows) < 50 {
		t.Fatalf("%d rows found in docs/peers.md", len(rows))
	}
	for _, c := range rows {
		spans := codeSpan.FindAllStringSubmatch(c.pinnedBy, -1)
		what, source, _ := strings.Cut(c.pinnedBy, ": ")
		if what == "documentation" || what == "not pinned" {
			if !strings.Contains(source, "](") {
				t.Errorf("docs/peers.md:%d: %s, without a link", c.line, what)
			}
			continue
		}
		if len(spans) == 0 {
			t.Errorf("docs/peers.md:%d: nothing pins it: %q", c.line, c.pinnedBy)
		}
		for _, span := range spans {
			if why := missingPin(tests, span[1]); why != "" {
				t.Errorf("docs/peers.md:%d: %s: %s", c.line, span[1], why)
			}
		}
	}
}

// missingPin says why a name is that of no test or dialogue, or "".
func missingPin(tests map[string]string, name string) string {
	if !strings.HasPrefix(name, "Test") {
		if _, err := os.Stat(filepath.Join("..", "..", "proxy", "testdata", "dialogues", filepath.FromSlash(name)+".txt")); err != nil {
			return "no such dialogue"
		}
		return ""
	}
	test, sub, _ := strings.Cut(name, "/")
	for _, text := range tests {
		if strings.Contains(text, "\nfunc "+test+"(t *testing.T)") && (sub == "" || strings.Contains(text, `{"`+sub+`"`)) {
			return ""
		}
	}
	return "no such test"
}

// testFiles are the texts of all tests of the module, by their paths.
func testFiles(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := filepath.WalkDir(filepath.Join("..", ".."), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		texts[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
