package config

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// An entry is one key of the file with its value and where it stands.
type entry struct {
	name  string // the last part of path, unquoted
	path  string // dotted, quoted where TOML would quote it
	line  int
	value any // string, int64, float64, bool, time.Time, []any, map[string]any or []map[string]any

	table    map[string]*entry // the keys of a table, nil for anything else
	elements []int             // the line of each element of an array
	faulty   bool              // its value could not be read
}

// A document is a parsed file.
type document struct {
	root   *entry
	length int          // number of lines
	broken map[int]bool // lines that were already reported and stand in as ""
}

// maxSyntaxFaults bounds how many syntax faults are looked for: a file with
// more than that is not a configuration.
const maxSyntaxFaults = 20

// parseDocument reads TOML. The library stops at the first fault of syntax, so
// that line is replaced by one that is sound, and the rest is read again; this
// goes on while the fault is one of a single key = value line, because only
// then do the lines after it keep their meaning. The document is nil if it
// could not be made sound.
func parseDocument(text string, pause func()) (*document, []Problem) {
	text = strings.TrimPrefix(text, "\ufeff")
	doc := &document{
		length: strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1,
		broken: make(map[int]bool),
	}
	text, problems := toUTF8(doc, text)

	lines := strings.SplitAfter(text, "\n")
	renamed := make(map[int]bool)
	for {
		sound := strings.Join(lines, "")
		var top map[string]any
		err := decode(sound, &top)
		if err == nil {
			pause()
			places := locate(sound)
			pause()
			doc.root = &entry{line: 1}
			readTable(places, doc.root, top, 1)
			return doc, problems
		}
		fault := syntaxProblem(lines, err)
		key := keyOf(lines[fault.Line-1])
		first := !doc.broken[fault.Line]
		if first {
			problems = append(problems, fault)
			doc.broken[fault.Line] = true
		}
		switch {
		case key == "" || renamed[fault.Line] || len(problems) >= maxSyntaxFaults:
			return nil, problems
		case first:
			lines[fault.Line-1] = key + " = \"\"\n"
		default: // still a fault: the key was given twice
			renamed[fault.Line] = true
			lines[fault.Line-1] = fmt.Sprintf("line-%d = \"\"\n", fault.Line)
		}
	}
}

// toUTF8 reports each line that is not UTF-8 and makes it so.
func toUTF8(doc *document, text string) (string, []Problem) {
	if utf8.ValidString(text) {
		return text, nil
	}
	var problems []Problem
	for i, line := range strings.SplitAfter(text, "\n") {
		if !utf8.ValidString(line) {
			doc.broken[i+1] = true
			problems = append(problems, Problem{
				Line:    i + 1,
				Message: "the line is not UTF-8",
				Hint:    "save the file as UTF-8",
			})
		}
	}
	return strings.ToValidUTF8(text, "?"), problems
}

// decode is toml.Decode. The library's parser panics where it finds itself in
// a state that it thinks impossible; a bad file must not end a running proxy
// that only reloads, so that becomes an error.
func decode(text string, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the TOML library failed: %v", r)
		}
	}()
	_, err = toml.Decode(text, v)
	return err
}

// maxDepth is how deep tables are read; ours are three deep.
const maxDepth = 8

// readTable fills e.table, at this depth, with the keys in values.
func readTable(marks map[string]mark, e *entry, values map[string]any, depth int) {
	e.table = make(map[string]*entry, len(values))
	for name, value := range values {
		child := &entry{name: name, path: joinPath(e.path, name), value: value}
		m := marks[child.path]
		child.line, child.elements = cmp.Or(m.line, e.line), m.elements
		if keys, ok := value.(map[string]any); ok {
			if depth >= maxDepth {
				keys = nil
			}
			readTable(marks, child, keys, depth+1)
		}
		e.table[name] = child
	}
}

// lineAt returns the number of the line that holds the byte at offset.
func lineAt(text string, offset int) int {
	return strings.Count(text[:min(max(offset, 0), len(text))], "\n") + 1
}

// joinPath appends a key to a dotted path, quoted unless it is a bare key.
func joinPath(path, key string) string {
	if !isName(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// isName reports whether s is made of A-Z, a-z, 0-9, _ and - only: a bare TOML
// key, and what the names of frontends and backends must be.
func isName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != ""
}
