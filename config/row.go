package config

import "slices"

// A row is one key of a table: all that ftproxy knows about it. The reader, the
// defaults, what Changes compares and prints, config.toml.example and "ftproxy
// check -explain" are made of rows. A new key is a new row, and the field of the
// T that it fills.
//
// Rows are read in their order. So a key whose default depends on another one
// stands below that one.
type row[T any] struct {
	name  string
	value value[T]
	help  string // whole sentences, of which the first says what the key is

	old      string // the name that the key had; it still works, and Warnings has the new one
	example  string // what config.toml.example writes, as TOML, for a key that has no default
	required string // what to write where the key is missing, if that is a fault
	secret   bool   // nobody is shown the value
}

// A value is how a key fills a T.
type value[T any] struct {
	kind   string         // what may be written, for people: `a time like "30s"`
	preset func(*T)       // sets what holds where the key is not written
	read   func(cell, *T) // sets what is written, or reports what is wrong with it
	print  func(*T) string
}

// A kind is a sort of values that keys of any table may have.
type kind[V any] struct {
	name  string         // as value.kind
	read  func(cell, *V) // as value.read
	print func(V) string // as TOML, in the one way that all equal values have
}

// field is a value that one field of T holds.
func field[T, V any](k kind[V], preset V, place func(*T) *V) value[T] {
	return value[T]{
		kind:   k.name,
		preset: func(t *T) { *place(t) = preset },
		read:   func(c cell, t *T) { k.read(c, place(t)) },
		print:  func(t *T) string { return k.print(*place(t)) },
	}
}

// sparse is a field that a configuration built in code may leave at its zero
// value, which means the preset.
func sparse[T any, V comparable](k kind[V], preset V, place func(*T) *V) value[T] {
	var zero V
	v := field(k, preset, place)
	v.print = func(t *T) string {
		if *place(t) == zero {
			return k.print(preset)
		}
		return k.print(*place(t))
	}
	return v
}

// follows is v with a preset that depends on the rows above.
func (v value[T]) follows(preset func(*T)) value[T] {
	v.preset = preset
	return v
}

// A section is the rows of one kind of table, each of which fills a T.
type section[T any] struct {
	path  string // "frontend.NAME.tls": NAME stands for the name of a frontend or backend, LABEL for that of a server
	help  string
	apart bool // config.toml.example has the table as a comment, because it stands in place of a key
	rows  []row[T]
	rules func(*section[T], table, *T) // reports keys that are wrong beside each other; may be nil
}

// defaults returns what holds where a table has no keys.
func (s *section[T]) defaults() (v T) {
	for i := range s.rows {
		s.rows[i].value.preset(&v)
	}
	return v
}

// read fills v, which has the defaults, from a table of the file.
func (s *section[T]) read(t table, v *T) {
	t.refuseUnknown(s.has)
	for i := range s.rows {
		r := &s.rows[i]
		r.value.preset(v)
		t.rename(r.old, r.name)
		switch e := t.entry.table[r.name]; {
		case e != nil:
			r.value.read(cell{in: t, key: r.name, entry: e}, v)
		case r.required != "":
			t.faultAt(t.entry.line, r.name, wrongf(r.required, "is missing"))
		}
	}
	if s.rules != nil {
		s.rules(s, t, v)
	}
}

// has tells whether a key may stand in the table: one of the rows, or a table
// of another section.
func (s *section[T]) has(key string) bool {
	for i := range s.rows {
		if r := &s.rows[i]; key == r.name || key == r.old && r.old != "" {
			return true
		}
	}
	return slices.Contains(innerTables(s.path), key)
}

// settings returns every key with the value that v has.
func (s *section[T]) settings(v *T) []setting {
	all := make([]setting, len(s.rows))
	for i := range s.rows {
		all[i] = setting{s.rows[i].name, s.rows[i].value.print(v)}
	}
	return all
}

// written returns the keys that must be written to get v: those whose value is not
// what the others leave them with.
func (s *section[T]) written(v *T) (all []setting) {
	for i := range s.rows {
		without := *v
		s.rows[i].value.preset(&without)
		if value := s.rows[i].value.print(v); value != s.rows[i].value.print(&without) {
			all = append(all, setting{s.rows[i].name, value})
		}
	}
	return all
}
