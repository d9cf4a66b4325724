package ftptest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Changed is config, the text of a TOML file, after the changes of reload> lines,
// as the package's documentation describes them. A value is on the line of its
// key. The error tells of a key or table to be taken out that is not there; what
// is no TOML stays in, for whoever reads the configuration to find.
func Changed(config, changes string) (string, error) {
	tables := splitTables(config)
	at := 0 // the table that changes are for
	for line := range strings.Lines(changes) {
		line = strings.TrimSpace(line)
		gone, without := strings.CutPrefix(line, "without ")
		gone = strings.TrimSpace(gone)
		switch {
		case line == "":
		case without && isHeader(gone):
			i := findTable(tables, gone)
			if i < 0 {
				return "", fmt.Errorf("there is no %s to be without", gone)
			}
			tables = slices.Delete(tables, i, i+1)
			at = 0
		case without:
			i := findKey(tables[at], gone)
			if i < 0 {
				return "", fmt.Errorf("there is no %s to be without", gone)
			}
			tables[at] = slices.Delete(tables[at], i, i+1)
		case isHeader(line):
			if at = findTable(tables, line); at < 0 {
				at = len(tables)
				tables = append(tables, []string{line})
			}
		default:
			if i := findKey(tables[at], keyOf(line)); i >= 0 {
				tables[at][i] = line
			} else {
				tables[at] = append(tables[at], line)
			}
		}
	}
	return strings.Join(slices.Concat(tables...), "\n") + "\n", nil
}

// splitTables gives the lines of each table, its header first. What stands
// before the first header is the first.
func splitTables(config string) [][]string {
	tables := [][]string{nil}
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if isHeader(line) {
			tables = append(tables, nil)
		}
		last := len(tables) - 1
		tables[last] = append(tables[last], line)
	}
	return tables
}

func isHeader(line string) bool { return strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") }

func findTable(tables [][]string, header string) int {
	return slices.IndexFunc(tables, func(t []string) bool { return len(t) > 0 && t[0] == header })
}

func findKey(table []string, key string) int {
	return slices.IndexFunc(table, func(line string) bool { return key != "" && keyOf(line) == key })
}

var keySyntax = regexp.MustCompile(`^([A-Za-z0-9_.-]+)\s*=`)

// keyOf is the key that line sets, or "".
func keyOf(line string) string {
	if m := keySyntax.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}
