package config

import (
	"fmt"
	"slices"
	"strings"
)

// schema is every key that may stand in a file, by its table. NAME stands for
// the name of a frontend or backend.
var schema = func() map[string][]string {
	keys := make(map[string][]string)
	for _, t := range Tables() {
		for _, k := range t.Keys {
			keys[t.Path] = append(keys[t.Path], k.Name)
		}
		if top, _, _ := strings.Cut(t.Path, "."); !slices.Contains(keys[""], top) {
			keys[""] = append(keys[""], top)
		}
	}
	return keys
}()

// known returns what may stand in a table of kind: its keys, and the names of
// the tables in it.
func known(kind string) []string {
	names := slices.Clone(schema[kind])
	return append(names, innerTables(kind)...)
}

// innerTables returns the names of the tables in a table of kind.
func innerTables(kind string) (names []string) {
	for _, other := range sortedKeys(schema) {
		if rest, inside := strings.CutPrefix(other, kind+"."); inside && kind != "" {
			if name, _, _ := strings.Cut(rest, "."); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// A reader turns the entries of a document into values and gathers what is
// wrong with them.
type reader struct {
	doc      *document
	problems []Problem
	lines    map[string]int
	renamed  []Problem // keys that stand under their old names
	checks   checks
	pause    func() // between the parts
}

// fault adds a problem, unless its line was already reported for its syntax.
func (r *reader) fault(line int, key, message, hint string) {
	if !r.doc.broken[line] {
		r.problems = append(r.problems, Problem{Line: line, Key: key, Message: message, Hint: hint})
	}
}

// A table reads the keys of one TOML table. It may stand for a table that the
// file does not have: then every key has its default.
type table struct {
	*reader
	entry   *entry
	kind    string   // its key in schema
	servers []Server // of a backend: those in tables of their own, as backendRules wants them
}

// table returns a table of the top level.
func (r *reader) table(name string) table {
	t := table{reader: r, kind: name, entry: &entry{path: name, line: 1}}
	if e := r.doc.root.table[name]; e != nil {
		t.entry = e
		if e.table == nil {
			r.fault(e.line, e.path, "must be a table, is "+describe(e.value), fmt.Sprintf("write [%s] and its keys below", name))
		}
	}
	return t
}

// named returns the tables [kind.NAME], sorted by name.
func (r *reader) named(kind string) []table {
	return r.within(r.doc.root.table[kind], kind, kind+"."+anyName)
}

// within returns the tables in e, each with a name, sorted by it. path is what
// stands before the name in a header, and kind the key of the tables in schema.
func (r *reader) within(e *entry, path, kind string) []table {
	if e == nil {
		return nil
	}
	_, name := cutLast(kind, ".") // NAME
	hint := fmt.Sprintf("write [%s.%s] and its keys below", path, name)
	if e.table == nil {
		r.fault(e.line, e.path, "must hold tables with a name, is "+describe(e.value), hint)
		return nil
	}
	var tables []table
	for _, name := range sortedKeys(e.table) {
		child := e.table[name]
		r.lines[child.path] = child.line
		if child.table == nil {
			if slices.Contains(schema[kind], name) {
				r.fault(child.line, child.path, fmt.Sprintf("stands in [%s], which has no name", path), hint)
			} else {
				r.fault(child.line, child.path, "must be a table, is "+describe(child.value), hint)
			}
			continue
		}
		if parts := nameParts(kind, child); len(parts) > 1 {
			r.fault(child.line, child.path, "the name has dots in it", fmt.Sprintf("write [%s.%s]", path, strings.Join(parts, "-")))
			continue
		}
		if !isName(name) {
			r.fault(child.line, child.path, "the name must be made of letters, digits, - and _", fmt.Sprintf("write [%s.%s]", path, cleanName(name)))
		}
		tables = append(tables, table{reader: r, kind: kind, entry: child})
	}
	return tables
}

// nameParts returns the parts of a name that was written with dots, as in
// [frontend.ftp.example.net]: TOML takes them for tables, each with the next alone.
func nameParts(kind string, e *entry) (parts []string) {
	for {
		parts = append(parts, e.name)
		var only *entry
		for name, child := range e.table {
			if len(e.table) == 1 && child.table != nil && !slices.Contains(known(kind), name) && foreign[kind][plain(name)] == "" {
				only = child
			}
		}
		if only == nil {
			return parts
		}
		e = only
	}
}

// inner returns the table [NAME] inside of t.
func (t table) inner(name string) table {
	path := joinPath(t.entry.path, name)
	in := table{reader: t.reader, kind: t.kind + "." + name, entry: &entry{path: path, line: t.entry.line}}
	if e := t.entry.table[name]; e != nil {
		in.entry = e
		if e.table == nil {
			t.fault(e.line, e.path, "must be a table, is "+describe(e.value), fmt.Sprintf("write [%s] and its keys below", path))
		}
	}
	return in
}

// cleanName makes a name out of one that was refused.
func cleanName(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < 0x80 && isName(string(c)) {
			return c
		}
		return '-'
	}, s)
	if s = strings.Trim(s, "-"); s == "" {
		return "NAME"
	}
	return s
}

// refuseUnknown reports every key that the table must not have.
func (t table) refuseUnknown(has func(key string) bool) {
	for _, name := range sortedKeys(t.entry.table) {
		child := t.entry.table[name]
		t.lines[child.path] = child.line
		if !has(name) {
			t.fault(child.line, child.path, "is not a key that ftproxy knows", suggest(t.kind, name))
		}
	}
}

// line returns where a key stands, or where its table begins.
func (t table) line(key string) int {
	if e := t.entry.table[key]; e != nil {
		return e.line
	}
	return t.entry.line
}

// given tells whether a key has a value other than "", sound or not.
func (t table) given(key string) bool {
	e := t.entry.table[key]
	return e != nil && e.value != ""
}

// count returns how many values a key has, sound or not.
func (t table) count(key string) int {
	e := t.entry.table[key]
	if e == nil {
		return 0
	}
	if list, ok := e.value.([]any); ok {
		return len(list)
	}
	return 1
}

// sound tells whether the value of a key could be read, or the key is not written.
func (t table) sound(key string) bool {
	e := t.entry.table[key]
	return e == nil || !e.faulty
}

// faultAt reports what is wrong with the value of key.
func (t table) faultAt(line int, key string, w *wrong) {
	path := joinPath(t.entry.path, key)
	if e := t.entry.table[key]; e != nil {
		path = e.path // perhaps with its old name
	}
	t.fault(line, path, w.message, w.hint)
}

// rename has a key that stands under its old name stand under the new one.
func (t table) rename(old, name string) {
	e := t.entry.table[old]
	if old == "" || e == nil {
		return
	}
	if also := t.entry.table[name]; also != nil {
		t.faultAt(e.line, old, wrongf("remove this key", "is the old name of %s, which stands in line %d", name, also.line))
		return
	}
	t.entry.table[name] = e
	t.lines[joinPath(t.entry.path, name)] = e.line
	t.renamed = append(t.renamed, Problem{Key: e.path, Message: "is the old name of " + name, Hint: "write " + name})
}
