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
			if is[outer(path)] != nil || outer(path) == "" {
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
		if _, known := was[path]; !known && (was[outer(path)] != nil || outer(path) == "") {
			all = append(all, Change{Key: path, New: inline(is, path, secrets)})
		}
	}
	all = append(all, reordered(old, new)...)
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
		for i := range b.Servers {
			if s := &b.Servers[i]; s.Label != "" {
				tables["backend."+b.Name+".server."+s.Label] = filled[Server]{&serverKeys, s}
			}
		}
		tables["backend."+b.Name+".check"] = filled[Check]{&checkKeys, &b.Check}
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
	var servers []string
	for _, inner := range sortedKeys(tables) {
		if label, found := strings.CutPrefix(inner, path+".server."); found {
			servers = append(servers, label+" = "+inline(tables, inner, secrets))
		}
	}
	if len(servers) > 0 {
		keys = append(keys, "server = "+inlineTable(servers))
	}
	for _, name := range []string{"check", "tls"} {
		if inner := path + "." + name; tables[inner] != nil {
			if value := inline(tables, inner, secrets); value != inlineTable(nil) {
				keys = append(keys, name+" = "+value)
			}
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

// outer returns the path of the frontend or backend that the table at path is in, and
// with which it comes and goes; "" if it is in none.
func outer(path string) string {
	if parts := strings.SplitN(path, ".", 3); len(parts) == 3 {
		return parts[0] + "." + parts[1]
	}
	return ""
}

// reordered are the backends whose tables of servers stand in another order, which
// says what is tried first.
func reordered(old, new *Config) (all []Change) {
	for _, was := range old.Backends {
		i := slices.IndexFunc(new.Backends, func(b Backend) bool { return b.Name == was.Name })
		if i < 0 {
			continue
		}
		before, after := was.labels(), new.Backends[i].labels()
		if !slices.Equal(before, after) && slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after))) {
			all = append(all, Change{Key: "backend." + was.Name + ".server", Old: list(before), New: list(after)})
		}
	}
	return all
}

// labels are the names of the servers' tables, as TOML, in their order.
func (b *Backend) labels() (all []string) {
	for _, s := range b.Servers {
		if s.Label != "" {
			all = append(all, quote(s.Label))
		}
	}
	return all
}

// kindOf returns the key in schema of the table at path.
func kindOf(path string) string {
	parts := strings.Split(path, ".")
	if len(parts) > 1 {
		parts[1] = anyName
	}
	if len(parts) > 3 {
		parts[3] = anyLabel
	}
	return strings.Join(parts, ".")
}
