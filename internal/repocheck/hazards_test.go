package repocheck

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	hazardRow  = regexp.MustCompile(`(?m)^\| H(\d+) \|.*\| ([^|]+) \|$`)
	hazardCite = regexp.MustCompile(`\bH(\d{1,3})\b`)
	hazardName = regexp.MustCompile(`^h(\d\d)-`) // of a dialogue
	notPinned  = "not pinned: "
)

// hazards are the last cells of the rows in docs/hazards.md, by their numbers.
func hazards(t *testing.T) map[int]string {
	t.Helper()
	all := make(map[int]string)
	for _, row := range hazardRow.FindAllStringSubmatch(strings.ReplaceAll(document(t, "docs/hazards.md"), `\|`, "/"), -1) {
		n := number(t, row[1])
		if _, twice := all[n]; twice {
			t.Errorf("docs/hazards.md: H%d is there twice", n)
		}
		all[n] = row[2]
	}
	if len(all) < 87 {
		t.Fatalf("%d hazards found in docs/hazards.md", len(all))
	}
	return all
}

func number(t *testing.T, digits string) int {
	t.Helper()
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Each hazard names tests or dialogues that exist, or says why it has none.
func TestHazardsArePinned(t *testing.T) {
	tests := testFiles(t)
	for n, pins := range hazards(t) {
		if strings.HasPrefix(pins, notPinned) && len(pins) > len(notPinned) {
			continue
		}
		names := codeSpan.FindAllStringSubmatch(pins, -1)
		if len(names) == 0 {
			t.Errorf("docs/hazards.md: nothing pins H%d: %q", n, pins)
		}
		for _, name := range names {
			if why := missingPins(tests, name[1]); why != "" {
				t.Errorf("docs/hazards.md: H%d: %s: %s", n, name[1], why)
			}
		}
	}
}

// missingPins is missingPin for a name that may also be a fuzz target, or a pattern
// of dialogues.
func missingPins(tests map[string]string, name string) string {
	switch {
	case strings.HasPrefix(name, "Fuzz"):
		for _, text := range tests {
			if strings.Contains(text, "\nfunc "+name+"(f *testing.F)") {
				return ""
			}
		}
		return "no such fuzz target"
	case strings.Contains(name, "*"):
		found, err := filepath.Glob(filepath.Join(dialogues, filepath.FromSlash(name)+".txt"))
		if err != nil || len(found) == 0 {
			return "no such dialogues"
		}
		return ""
	}
	return missingPin(tests, name)
}

// dialogues is where they are.
var dialogues = filepath.Join("..", "..", "proxy", "testdata", "dialogues")

// Every hazard that the code, a test or a dialogue cites can be looked up.
func TestCitedHazardsExist(t *testing.T) {
	known, cited := hazards(t), 0
	check := func(name, digits string) {
		cited++
		if _, ok := known[number(t, digits)]; !ok {
			t.Errorf("%s: docs/hazards.md has no H%s", name, digits)
		}
	}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".go" && !strings.HasPrefix(name, dialogues) {
			return err
		}
		if number := hazardName.FindStringSubmatch(d.Name()); number != nil {
			check(name, number[1])
		}
		text, err := os.ReadFile(name)
		for _, cite := range hazardCite.FindAllStringSubmatch(string(text), -1) {
			check(name, cite[1])
		}
		return err
	})
	if err != nil || cited < 300 {
		t.Fatalf("%d citations found (%v)", cited, err)
	}
}
