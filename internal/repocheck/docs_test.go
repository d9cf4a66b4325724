package repocheck

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/metrics"
)

// document reads a file of the documentation, by its path in the module.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents are all Markdown files of the module.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		names, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			relative, err := filepath.Rel(filepath.Join("..", ".."), name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, relative)
		}
	}
	if !slices.Contains(all, "README.md") {
		t.Fatal("no README.md")
	}
	return all
}

var tomlBlock = regexp.MustCompile("(?s)```toml\n(.*?)```")

// Every configuration in the documentation is one that ftproxy takes.
func TestExamplesInDocumentsLoad(t *testing.T) {
	found := 0
	for _, name := range documents(t) {
		for _, block := range tomlBlock.FindAllStringSubmatch(document(t, name), -1) {
			found++
			if _, err := config.Parse(name, []byte(block[1])); err != nil {
				t.Errorf("%s: %v\n%s", name, err, block[1])
			}
		}
	}
	if found == 0 {
		t.Error("no examples found")
	}
}

var metricRow = regexp.MustCompile("(?m)^\\| `(ftproxy_[a-z_]+)` \\| ([a-z, ]*) \\|$")

// The README lists each metric, with its labels, and no other.
func TestMetricsInREADME(t *testing.T) {
	var want, got []string
	for _, d := range metrics.New("test").Describe() {
		want = append(want, d.Name+" "+strings.Join(d.Labels, ", "))
	}
	for _, row := range metricRow.FindAllStringSubmatch(document(t, "README.md"), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("README.md lists\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

// Links within the repository lead somewhere.
func TestLinks(t *testing.T) {
	for _, name := range documents(t) {
		for _, l := range link.FindAllStringSubmatch(document(t, name), -1) {
			if _, err := os.Stat(filepath.Join("..", "..", filepath.Dir(name), l[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
