package config

import (
	"fmt"
	"slices"
	"strings"
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

