package config

import (
	"errors"
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
func parseDocument(text string) (*document, []Problem) {
	text = strings.TrimPrefix(text, "\ufeff")
	doc := &document{
		length: strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1,
		broken: make(map[int]bool),
	}
	text, problems := toUTF8(doc, text)

	lines := strings.SplitAfter(text, "\n")
	renamed := make(map[int]bool)
	for {
		var top map[string]toml.Primitive
		md, err := decode(strings.Join(lines, ""), &top)
		if err == nil {
			doc.root = &entry{line: 1, table: make(map[string]*entry)}
			readTable(strings.Join(lines, ""), &md, doc.root, top, 1)
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
func decode(text string, v any) (md toml.MetaData, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the TOML library failed: %v", r)
		}
	}()
	return toml.Decode(text, v)
}

// errProbe is what a probe fails with, to be told its position.
var errProbe = errors.New("probe")

// A probe takes a value as it is and fails. The library has the position of
// every key but tells it only in the error of an Unmarshaler.
type probe struct{ value any }

func (p *probe) UnmarshalTOML(v any) error {
	p.value = v
	return errProbe
}

// maxDepth is how deep tables are read; ours are three deep.
const maxDepth = 8

// readTable fills e.table, at this depth, with the keys in values.
func readTable(text string, md *toml.MetaData, e *entry, values map[string]toml.Primitive, depth int) {
	for name, primitive := range values {
		var p probe
		var at toml.ParseError
		errors.As(md.PrimitiveDecode(primitive, &p), &at)

		child := &entry{name: name, path: joinPath(e.path, name), value: p.value}
		if at.Position.Line > 0 { // implied tables have no position
			child.line = lineAt(text, at.Position.Start)
		}
		switch v := p.value.(type) {
		case map[string]any:
			child.table = make(map[string]*entry)
			var keys map[string]toml.Primitive
			if depth < maxDepth && md.PrimitiveDecode(primitive, &keys) == nil {
				readTable(text, md, child, keys, depth+1)
			}
			if child.line == 0 {
				child.line = firstLine(child.table)
			}
		case []any:
			child.elements = elementLines(text, at.Position.Start, len(v))
		}
		e.table[name] = child
	}
}

func firstLine(table map[string]*entry) int {
	first := 0
	for _, e := range table {
		if first == 0 || e.line < first {
			first = e.line
		}
	}
	return max(first, 1)
}

// lineAt returns the number of the line that holds the byte at offset.
func lineAt(text string, offset int) int {
	return strings.Count(text[:min(max(offset, 0), len(text))], "\n") + 1
}

// elementLines returns the line of each of the n elements of the array whose
// first byte behind "[" stands at offset. The library does not keep them.
// The array is known to be sound; elements in nested arrays do not count.
func elementLines(text string, offset, n int) []int {
	lines := make([]int, 0, n)
	line := lineAt(text, offset)
	depth, inside := 0, false // inside: the current element has begun
	for i := offset; i < len(text) && len(lines) <= n; i++ {
		c := text[i]
		switch {
		case c == '\n':
			line++
		case c == '#':
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end - 1
			} else {
				i = len(text)
			}
		case c == ' ' || c == '\t' || c == '\r':
		case c == ',' && depth == 0:
			inside = false
		case c == ']' && depth == 0:
			return lines
		default:
			if !inside {
				inside = true
				lines = append(lines, line)
			}
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			case '"', '\'':
				end := stringEnd(text, i)
				line += strings.Count(text[i:end], "\n")
				i = end - 1
			}
		}
	}
	return lines
}

// stringEnd returns the offset behind the string that begins at offset i.
func stringEnd(text string, i int) int {
	quote := text[i : i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(text[i:], triple) {
		quote = triple
	}
	for j := i + len(quote); j < len(text); j++ {
		switch {
		case text[j] == '\\' && quote[0] == '"':
			j++
		case strings.HasPrefix(text[j:], quote):
			j += len(quote)
			for len(quote) == 3 && j < len(text) && text[j] == quote[0] { // """a""" may end in five
				j++
			}
			return j
		}
	}
	return len(text)
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
