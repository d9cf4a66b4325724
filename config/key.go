package config

import "strings"

// A Table is a kind of table that may stand in a file.
type Table struct {
	Path  string // "frontend.NAME.tls": NAME stands for the name of a frontend or backend, LABEL for that of a server
	Help  string
	Keys  []Key
	Apart bool // it stands in place of a key, so the two are not written together
}

// A Key is one key of a table, and what there is to know about it.
type Key struct {
	Name    string
	Old     string // the name that it had, which still works; may be empty
	Kind    string // what may be written: `a time like "30s"`
	Default string // as TOML; empty for a key that must be written
	Example string // as TOML, for a key that must be written
	Help    string // whole sentences, on one line
	Secret  bool   // its value is shown to nobody
}

// sections are all kinds of tables, in the order of config.toml.example.
var sections = []interface{ table() Table }{
	&logKeys, &adminKeys, &controlKeys, &timeoutKeys, &limitKeys,
	&frontendKeys, &frontendTLSKeys, &backendKeys, &serverKeys, &checkKeys, &backendTLSKeys,
}

// Tables returns every kind of table with all of its keys, in the order of
// config.toml.example.
func Tables() []Table {
	all := make([]Table, len(sections))
	for i, s := range sections {
		all[i] = s.table()
	}
	return all
}

func (s *section[T]) table() Table {
	t := Table{Path: s.path, Help: flow(s.help), Apart: s.apart}
	defaults := s.defaults()
	for _, r := range s.rows {
		k := Key{Name: r.name, Old: r.old, Kind: r.value.kind, Example: r.example, Help: flow(r.help), Secret: r.secret}
		if r.example == "" {
			k.Default = r.value.print(&defaults)
		}
		t.Keys = append(t.Keys, k)
	}
	return t
}

// flow puts help on one line.
func flow(help string) string { return strings.Join(strings.Fields(help), " ") }
