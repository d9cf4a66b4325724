package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is reported into testdata/bad; then read every line of it")

// Each bad configuration stands beside the whole text that it must give.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("%d files in testdata/bad", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("config.toml", data)
			if err == nil {
				t.Fatal("Parse accepts it")
			}
			if c != nil {
				t.Error("Parse returns a configuration with an error")
			}
			checkErrors(t, err, string(data))

			wantFile := strings.TrimSuffix(file, ".toml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// checkErrors holds what is true of every report about a text: it is sorted,
// and each problem has a line that exists, a message, and what to write.
func checkErrors(t *testing.T, err error, text string) {
	t.Helper()
	var problems Errors
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("%T %v, want Errors", err, err)
	}
	if !slices.IsSortedFunc(problems, func(a, b Problem) int { return a.Line - b.Line }) {
		t.Errorf("not sorted by line:\n%v", err)
	}
	lines := strings.Count(text, "\n") + 1
	for _, p := range problems {
		if p.Line < 1 || p.Line > lines {
			t.Errorf("line %d of %d: %v", p.Line, lines, p)
		}
		if p.File == "" || p.Message == "" || p.Hint == "" {
			t.Errorf("not complete: %#v", p)
		}
		if strings.ContainsAny(p.Error(), "\r\n\x00\x1b") {
			t.Errorf("more than one line: %q", p.Error())
		}
	}
}
