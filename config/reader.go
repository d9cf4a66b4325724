package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// schema is every key that may stand in a file, by its table. NAME stands for
// the name of a frontend or backend.
var schema = map[string][]string{
	"":              {"log", "admin", "control", "timeouts", "limits", "frontend", "backend"},
	"log":           {"level", "format"},
	"admin":         {"listen"},
	"control":       {"socket"},
	"timeouts":      {"connect", "greeting", "login", "idle", "reply", "final_reply", "port_wait", "data_connect", "data_stall", "client_write", "proxy_header", "tls_handshake", "linger", "shutdown_delay", "drain"},
	"limits":        {"sessions", "sessions_per_client", "transfers"},
	"frontend.NAME": {"listen", "proxy_protocol", "data_proxy_protocol", "trusted_proxies", "public_address", "public_address_for", "advertised_port_offset", "passive_ports", "passive_bind", "data_peer", "active_source_ports", "allow_foreign_data", "bandwidth", "session_bandwidth", "backend", "banner"},
	"backend.NAME":  {"servers", "data", "data_ports", "trust_data_address", "source", "source_other_family", "send_proxy", "send_proxy_data", "bandwidth"},

	"frontend.NAME.tls": {"mode", "certificate", "key", "client_ca", "client_certificate", "require_data", "require_session_reuse", "strict_eof", "min_version", "max_version"},
	"backend.NAME.tls":  {"mode", "data", "ca", "server_name", "certificate", "key", "insecure_skip_verify", "strict_eof", "min_version", "max_version"},
}

// known returns what may stand in a table of kind: its keys, and the names of
// the tables in it.
func known(kind string) []string {
	names := slices.Clone(schema[kind])
	for _, other := range sortedKeys(schema) {
		if parent, name := cutLast(other, "."); kind != "" && parent == kind {
			names = append(names, name)
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
	entry *entry
	kind  string // its key in schema
}

// A text is one string of the file with its line.
type text struct {
	value string
	line  int
}

// table returns a table of the top level, and reports the keys that it must
// not have.
func (r *reader) table(name string) table {
	t := table{reader: r, kind: name, entry: &entry{path: name, line: 1}}
	if e := r.doc.root.table[name]; e != nil {
		t.entry = e
		if e.table == nil {
			r.fault(e.line, e.path, "must be a table, is "+describe(e.value), fmt.Sprintf("write [%s] and its keys below", name))
		}
	}
	t.refuseUnknown()
	return t
}

// named returns the tables [kind.NAME], sorted by name.
func (r *reader) named(kind string) []table {
	e := r.doc.root.table[kind]
	if e == nil {
		return nil
	}
	if e.table == nil {
		r.fault(e.line, e.path, "must hold tables with a name, is "+describe(e.value), fmt.Sprintf("write [%s.NAME] and its keys below", kind))
		return nil
	}
	var tables []table
	for _, name := range sortedKeys(e.table) {
		child := e.table[name]
		r.lines[child.path] = child.line
		if child.table == nil {
			hint := fmt.Sprintf("write [%s.NAME] and its keys below", kind)
			if slices.Contains(schema[kind+".NAME"], name) {
				r.fault(child.line, child.path, fmt.Sprintf("stands in [%s], which has no name", kind), hint)
			} else {
				r.fault(child.line, child.path, "must be a table, is "+describe(child.value), hint)
			}
			continue
		}
		if !isName(name) {
			r.fault(child.line, child.path, "the name must be made of letters, digits, - and _", fmt.Sprintf("write [%s.%s]", kind, cleanName(name)))
		}
		t := table{reader: r, kind: kind + ".NAME", entry: child}
		t.refuseUnknown()
		tables = append(tables, t)
	}
	return tables
}

// inner returns the table [NAME] inside of t, and reports the keys that it must
// not have.
func (t table) inner(name string) table {
	path := joinPath(t.entry.path, name)
	in := table{reader: t.reader, kind: t.kind + "." + name, entry: &entry{path: path, line: t.entry.line}}
	if e := t.entry.table[name]; e != nil {
		in.entry = e
		if e.table == nil {
			t.fault(e.line, e.path, "must be a table, is "+describe(e.value), fmt.Sprintf("write [%s] and its keys below", path))
		}
	}
	in.refuseUnknown()
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

// refuseUnknown reports every key that the schema does not have.
func (t table) refuseUnknown() {
	if len(t.entry.table) == 0 {
		return
	}
	names := known(t.kind)
	for _, name := range sortedKeys(t.entry.table) {
		child := t.entry.table[name]
		t.lines[child.path] = child.line
		if !slices.Contains(names, name) {
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

// faultAt reports what is wrong with the value of key.
func (t table) faultAt(line int, key string, w *wrong) {
	t.fault(line, joinPath(t.entry.path, key), w.message, w.hint)
}

// wrongType reports a value that is not of the type wanted. example is a
// value of the right type, as TOML.
func (t table) wrongType(line int, key, wanted string, value any, example string) {
	t.faultAt(line, key, wrongf(fmt.Sprintf("write %s = %s", joinPath("", key), example), "must be %s, is %s", wanted, describe(value)))
}

// text returns the string that key has; ok is false if there is none.
func (t table) text(key, example string) (s text, ok bool) {
	e := t.entry.table[key]
	if e == nil {
		return text{}, false
	}
	value, ok := e.value.(string)
	if !ok {
		t.wrongType(e.line, key, "a string", e.value, likely(e.value, example))
	}
	return text{value, e.line}, ok
}

// texts returns the strings of a key that has a string or a list of them, which
// is not empty.
func (t table) texts(key, example string) []text {
	if e := t.entry.table[key]; e != nil {
		if list, ok := e.value.([]any); ok && len(list) == 0 {
			t.faultAt(e.line, key, wrongf("write "+joinPath("", key)+" = "+strconv.Quote(example), "the list is empty"))
		}
	}
	return t.list(key, example)
}

// list returns the strings of a key that has a string or a list of them, which
// may be empty.
func (t table) list(key, example string) []text {
	e := t.entry.table[key]
	if e == nil {
		return nil
	}
	switch v := e.value.(type) {
	case string:
		return []text{{v, e.line}}
	case []any:
		var list []text
		for i, element := range v {
			line := e.line
			if i < len(e.elements) {
				line = e.elements[i]
			}
			if s, ok := element.(string); ok {
				list = append(list, text{s, line})
			} else {
				t.faultAt(line, key, wrongf(fmt.Sprintf("write %s in place of it", likely(element, example)),
					"must hold strings only, holds %s", describe(element)))
			}
		}
		return list
	}
	t.wrongType(e.line, key, "a string or a list of strings", e.value, likely(e.value, example))
	return nil
}

// duration sets *d to the time that key has. Zero is refused unless it is allowed.
func (t table) duration(key string, d *time.Duration, zero bool) {
	e := t.entry.table[key]
	if e == nil {
		return
	}
	s, ok := e.value.(string)
	if !ok {
		example := strconv.Quote(shortTime(*d))
		if n, ok := e.value.(int64); ok && n > 0 {
			example = fmt.Sprintf(`"%ds"`, n)
		}
		t.wrongType(e.line, key, `a string like "10m"`, e.value, example)
		return
	}
	value, w := parseDuration(s, zero)
	if w != nil {
		t.faultAt(e.line, key, w)
		return
	}
	*d = value
}

// shortTime is d.String() without the zeros at its end: "10m", not "10m0s".
func shortTime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// maxWhole keeps whole numbers within an int of 32 bits.
const maxWhole = 1<<31 - 1

// whole sets *n to the whole number that key has, which is least or more.
func (t table) whole(key string, n *int, least int64) {
	e := t.entry.table[key]
	if e == nil {
		return
	}
	value, ok := e.value.(int64)
	switch {
	case !ok:
		example := strconv.Itoa(*n)
		if s, ok := e.value.(string); ok && bareNumber.MatchString(s) {
			example = s
		}
		t.wrongType(e.line, key, "a whole number", e.value, example)
	case value < least || value > maxWhole:
		t.faultAt(e.line, key, wrongf(fmt.Sprintf("write %s = %d", key, *n), "must be %d to %d, is %d", least, maxWhole, value))
	default:
		*n = int(value)
	}
}

// boolean sets *b to what key has, true or false; ok is false if it has neither.
func (t table) boolean(key string, b *bool) (ok bool) {
	e := t.entry.table[key]
	if e == nil {
		return true
	}
	value, ok := e.value.(bool)
	if !ok {
		example := "true"
		if e.value == "false" || e.value == "no" || e.value == "off" || e.value == "" || e.value == int64(0) {
			example = "false"
		}
		t.wrongType(e.line, key, "true or false", e.value, example)
		return false
	}
	*b = value
	return true
}

// choice sets *s to the word that key has, which is one of words.
func (t table) choice(key string, s *string, words ...string) {
	got, ok := t.text(key, *s)
	if !ok {
		return
	}
	if !slices.Contains(words, got.value) {
		hint := "write one of " + quoteAll(words)
		if near := nearest(got.value, words); near != "" {
			hint = fmt.Sprintf("write %q; known are %s", near, quoteAll(words))
		}
		t.faultAt(got.line, key, wrongf(hint, "%q is not known", got.value))
		return
	}
	*s = got.value
}

// portRange sets *p to the range that key has.
func (t table) portRange(key string, p *PortRange) (ok bool) {
	s, given := t.text(key, p.String())
	if !given {
		return t.entry.table[key] == nil
	}
	value, w := parsePortRange(s.value)
	if w != nil {
		t.faultAt(s.line, key, w)
		return false
	}
	*p = value
	return true
}

// likely is what was meant by a value of the wrong type, as TOML: a port in
// quotes, or the one string of a list; otherwise the example.
func likely(value any, example string) string {
	switch v := value.(type) {
	case int64:
		isPort := v > 0 && v <= 65535
		if _, w := parsePortRange(example); isPort && w == nil {
			return fmt.Sprintf(`"%d"`, v)
		}
		if host, _, ok := strings.Cut(example, ":"); isPort && ok && (host == "" || host == "127.0.0.1") {
			return fmt.Sprintf(`"%s:%d"`, host, v)
		}
	case []any:
		if len(v) == 1 {
			if s, ok := v[0].(string); ok {
				return strconv.Quote(s)
			}
		}
	}
	return strconv.Quote(example)
}

// describe names the type of a TOML value as a person would.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return "the string " + strconv.Quote(v)
	case int64:
		return "the number " + strconv.FormatInt(v, 10)
	case float64:
		return "the number " + strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return "a list"
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
