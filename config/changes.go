package config

import (
	"cmp"
	"slices"
	"strings"
)

// A Change is one key whose value differs between two configurations.
type Change struct {
	Key string // dotted path, for example "timeouts.idle"
	// Old and New are TOML, defaults included. A frontend or backend that only
	// one of the two has is one Change, with "" in the other.
	Old, New string
}

// String returns the change as one line: "timeouts.idle: "10m" is now "5m"".
func (c Change) String() string {
	switch {
	case c.Old == "":
		return c.Key + ": is new: " + c.New
	case c.New == "":
		return c.Key + ": is gone: " + c.Old
	}
	return c.Key + ": " + c.Old + " is now " + c.New
}

// secrets are the keys, as "TABLE.KEY" with the tables of schema, whose values
// nobody is shown.
var secrets = func() map[string]bool {
	secret := make(map[string]bool)
	for _, t := range Tables() {
		for _, k := range t.Keys {
			if k.Secret {
				secret[t.Path+"."+k.Name] = true
			}
		}
	}
	return secret
}()

// hidden stands for the value of a secret.
const hidden = `"***"`

// Changes returns every key whose value differs, sorted by key. What is not
// written has its default, and what is written in another way, or in another
// order where that has no meaning, is no change.
func Changes(old, new *Config) []Change { return changes(old, new, secrets) }

func changes(old, new *Config, secrets map[string]bool) []Change {
	was, is := old.tables(), new.tables()
	var all []Change
	for path, before := range was {
		after, kept := is[path]
		if !kept {
			if !isInner(path) {
				all = append(all, Change{Key: path, Old: inline(was, path, secrets)})
			}
			continue
		}
		now := after.settings()
		for i, a := range before.settings() { // both have the rows of one section
			if b := now[i]; a != b {
				all = append(all, Change{
					Key: path + "." + a.key,
					Old: shown(path, a, secrets),
					New: shown(path, b, secrets),
				})
			}
		}
	}
	for path := range is {
		if _, known := was[path]; !known && !isInner(path) {
			all = append(all, Change{Key: path, New: inline(is, path, secrets)})
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// A setting is one key of a table with its value as TOML, written in the one
// way that all equal values have.
type setting struct{ key, value string }

// settings is a table of a configuration, as it could be written.
type settings interface {
	settings() []setting // every key, in the order of the rows
	written() []setting  // without those that have their default
}

// filled is a T beside the section that it was read by.
type filled[T any] struct {
	section *section[T]
	value   *T
}

func (f filled[T]) settings() []setting { return f.section.settings(f.value) }
func (f filled[T]) written() []setting  { return f.section.written(f.value) }

// tables returns every table by its path.
func (c *Config) tables() map[string]settings {
	tables := map[string]settings{
		"log":      filled[Log]{&logKeys, &c.Log},
		"admin":    filled[Admin]{&adminKeys, &c.Admin},
		"control":  filled[Control]{&controlKeys, &c.Control},
		"timeouts": filled[Timeouts]{&timeoutKeys, &c.Timeouts},
		"limits":   filled[Limits]{&limitKeys, &c.Limits},
	}
	for i := range c.Frontends {
		f := &c.Frontends[i]
		tables["frontend."+f.Name] = filled[Frontend]{&frontendKeys, f}
		tables["frontend."+f.Name+".tls"] = filled[FrontendTLS]{&frontendTLSKeys, &f.TLS}
	}
	for i := range c.Backends {
		b := &c.Backends[i]
		tables["backend."+b.Name] = filled[Backend]{&backendKeys, b}
		tables["backend."+b.Name+".tls"] = filled[BackendTLS]{&backendTLSKeys, &b.TLS}
	}
	return tables
}

// inline returns the table at path, a frontend or a backend or what is in it, as
// one TOML value, without what has its default.
func inline(tables map[string]settings, path string, secrets map[string]bool) string {
	var keys []string
	for _, s := range tables[path].written() {
		keys = append(keys, s.key+" = "+shown(path, s, secrets))
	}
	if inner := path + ".tls"; tables[inner] != nil {
		if value := inline(tables, inner, secrets); value != inlineTable(nil) {
			keys = append(keys, "tls = "+value)
		}
	}
	return inlineTable(keys)
}

// shown is a setting's value, unless it is secret.
func shown(path string, s setting, secrets map[string]bool) string {
	if secrets[kindOf(path)+"."+s.key] {
		return hidden
	}
	return s.value
}

// isInner tells whether the table at path is one of those in a frontend or a
// backend, which come and go with it.
func isInner(path string) bool { return strings.Count(path, ".") > 1 }

// kindOf returns the key in schema of the table at path.
func kindOf(path string) string {
	parts := strings.Split(path, ".")
	if len(parts) > 1 {
		parts[1] = "NAME"
	}
	return strings.Join(parts, ".")
}
