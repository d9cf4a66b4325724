package config

import "strings"

// A mark is where a key stands.
type mark struct {
	line     int
	implied  bool  // a table that is so far only named by what is in it
	elements []int // the line of each element of an array
}

// A walker goes over a sound document to find where keys stand. The library
// knows, but tells it only in errors, each of which costs as much as to read
// the whole file: two hundred tables took a second.
type walker struct {
	text  string
	i     int // offset of the next byte
	line  int // its line
	marks map[string]mark
}

// A position is a dotted path and how many keys it has.
type position struct {
	path  string
	depth int
}

// locate returns where each key of text stands, by its dotted path. The text
// is known to be sound; what is deeper than maxDepth, or in an array, is left out.
func locate(text string) map[string]mark {
	w := &walker{text: text, line: 1, marks: make(map[string]mark, strings.Count(text, "="))}
	var table position
	for w.blank(); w.i < len(w.text); w.blank() {
		start := w.i
		if w.skip('[') {
			w.skip('[')
			line := w.line
			table = w.key(position{})
			w.mark(table, mark{line: line})
			w.skip(']')
			w.skip(']')
		} else {
			w.pair(table)
		}
		if w.i == start { // not sound after all
			break
		}
	}
	return w.marks
}

// mark notes where a key stands, unless that is known: a table stands at its
// header, or else where it is first named; a list of tables where its first does.
func (w *walker) mark(p position, m mark) {
	if old, known := w.marks[p.path]; !known || old.implied && !m.implied {
		w.marks[p.path] = m
	}
}

// pair reads a key and its value in table.
func (w *walker) pair(table position) {
	line := w.line
	p := w.key(table)
	w.blank()
	w.skip('=')
	w.blank()
	w.mark(p, mark{line: line, elements: w.value(p)})
}

// key reads a key, which may be dotted.
func (w *walker) key(p position) position {
	for {
		w.blank()
		name := w.name()
		if p.depth < maxDepth {
			p = position{joinPath(p.path, name), p.depth + 1}
		}
		w.blank()
		if !w.skip('.') {
			return p
		}
		w.mark(p, mark{line: w.line, implied: true})
	}
}

// name reads one part of a key.
func (w *walker) name() string {
	if w.i == len(w.text) {
		return ""
	}
	start := w.i
	switch w.text[w.i] {
	case '"':
		w.move(stringEnd(w.text, w.i))
		quoted := w.text[start:w.i]
		if strings.Contains(quoted, `\`) {
			var key map[string]any
			if decode(quoted+" = 0", &key) == nil {
				for name := range key {
					return name
				}
			}
		}
		return strings.Trim(quoted, `"`)
	case '\'':
		w.move(stringEnd(w.text, w.i))
		return strings.Trim(w.text[start:w.i], "'")
	}
	w.until(" \t\r\n.=]")
	return w.text[start:w.i]
}

// value goes over the value of the key at p. It returns the line of each
// element where that is an array.
func (w *walker) value(p position) []int {
	if w.i == len(w.text) {
		return nil
	}
	switch w.text[w.i] {
	case '"', '\'':
		w.move(stringEnd(w.text, w.i))
	case '[':
		return w.array()
	case '{':
		w.table(p)
	default:
		w.until(",]}#\n")
	}
	return nil
}

// array goes over an array and returns the line of each element.
func (w *walker) array() (lines []int) {
	w.skip('[')
	for w.blank(); w.i < len(w.text) && !w.skip(']'); w.blank() {
		if w.skip(',') {
			continue
		}
		lines = append(lines, w.line)
		start := w.i
		w.value(position{path: "[]", depth: maxDepth}) // keys below have no path
		if w.i == start {
			break
		}
	}
	return lines
}

// table goes over an inline table.
func (w *walker) table(p position) {
	w.skip('{')
	for w.blank(); w.i < len(w.text) && !w.skip('}'); w.blank() {
		if w.skip(',') {
			continue
		}
		start := w.i
		w.pair(p)
		if w.i == start {
			break
		}
	}
}

// blank goes over spaces, ends of lines and comments.
func (w *walker) blank() {
	for w.i < len(w.text) {
		switch w.text[w.i] {
		case ' ', '\t', '\r', '\n':
			w.move(w.i + 1)
		case '#':
			w.until("\n")
		default:
			return
		}
	}
}

// skip goes over the byte c, if it is the next one.
func (w *walker) skip(c byte) bool {
	if w.i == len(w.text) || w.text[w.i] != c {
		return false
	}
	w.move(w.i + 1)
	return true
}

// until goes to the next of the bytes in chars, or to the end.
func (w *walker) until(chars string) {
	if n := strings.IndexAny(w.text[w.i:], chars); n >= 0 {
		w.move(w.i + n)
	} else {
		w.move(len(w.text))
	}
}

// move goes on to the offset i.
func (w *walker) move(i int) {
	w.line += strings.Count(w.text[w.i:i], "\n")
	w.i = i
}

// stringEnd returns the offset behind the string that begins at offset i.
func stringEnd(text string, i int) int {
	quote := text[i : i+1]
	if rest := text[i:]; strings.HasPrefix(rest, `"""`) || strings.HasPrefix(rest, "'''") {
		quote = rest[:3]
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
