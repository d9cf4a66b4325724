package repocheck

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// setting is an environment variable of a test. FTPROXY_TEST_ is for tests that start
// themselves again.
var setting = regexp.MustCompile(`\bFTPROXY_[A-Z_]+\b`)

// docs/testing.md has each environment variable of a test, and no other.
func TestSettingsAreDocumented(t *testing.T) {
	var want []string
	for _, text := range testFiles(t) {
		for _, found := range regexp.MustCompile(`"`+setting.String()+`"`).FindAllString(text, -1) {
			if !strings.HasPrefix(found, `"FTPROXY_TEST_`) {
				want = append(want, strings.Trim(found, `"`))
			}
		}
	}
	got := setting.FindAllString(document(t, "docs/testing.md"), -1)
	got = slices.DeleteFunc(got, func(s string) bool { return s == "FTPROXY_TEST_" })
	slices.Sort(want)
	slices.Sort(got)
	if want, got = slices.Compact(want), slices.Compact(got); len(want) == 0 || !slices.Equal(want, got) {
		t.Errorf("docs/testing.md has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// docs/testing.md says what each folder of dialogues is for.
func TestDialogueFoldersAreDocumented(t *testing.T) {
	text := document(t, "docs/testing.md")
	err := filepath.WalkDir(dialogues, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		folder, err := filepath.Rel(dialogues, name)
		if err == nil && !strings.Contains(text, "`"+filepath.ToSlash(folder)+"`") {
			t.Errorf("docs/testing.md: nothing about %s", folder)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
