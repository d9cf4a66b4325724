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
// nobody is shown. The file has none yet.
var secrets = map[string]bool{}

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
			all = append(all, Change{Key: path, Old: inline(path, before, secrets)})
			continue
		}
		for i, a := range before { // both have the keys of schema, in its order
			if b := after[i]; a != b {
				all = append(all, Change{
					Key: path + "." + a.key,
					Old: shown(path, a, secrets),
					New: shown(path, b, secrets),
				})
			}
		}
	}
	for path, after := range is {
		if _, known := was[path]; !known {
			all = append(all, Change{Key: path, New: inline(path, after, secrets)})
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// inline returns a frontend or a backend as one TOML value, without what has its default.
func inline(path string, settings []setting, secrets map[string]bool) string {
	f, b := NewFrontend(""), NewBackend("")
	defaults := b.settings()
	if kindOf(path) == "frontend.NAME" {
		f.DataProxyProtocol = slices.Contains(settings, setting{"proxy_protocol", "true"})
		defaults = f.settings()
	}
	var written []string
	for i, s := range settings {
		if s != defaults[i] {
			written = append(written, s.key+" = "+shown(path, s, secrets))
		}
	}
	return inlineTable(written)
}

// shown is a setting's value, unless it is secret.
func shown(path string, s setting, secrets map[string]bool) string {
	if secrets[kindOf(path)+"."+s.key] {
		return hidden
	}
	return s.value
}

// kindOf returns the key in schema of the table at path.
func kindOf(path string) string {
	if kind, _, ok := strings.Cut(path, "."); ok {
		return kind + ".NAME"
	}
	return path
}
