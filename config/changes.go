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
			if !isInner(path) {
				all = append(all, Change{Key: path, Old: inline(was, path, secrets)})
			}
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
	for path := range is {
		if _, known := was[path]; !known && !isInner(path) {
			all = append(all, Change{Key: path, New: inline(is, path, secrets)})
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

// inline returns the table at path, a frontend or a backend or what is in it, as
// one TOML value, without what has its default.
func inline(tables map[string][]setting, path string, secrets map[string]bool) string {
	settings := tables[path]
	var written []string
	for i, s := range defaults(path, settings) {
		if s != settings[i] {
			written = append(written, s.key+" = "+shown(path, settings[i], secrets))
		}
	}
	if inner := path + ".tls"; tables[inner] != nil {
		if value := inline(tables, inner, secrets); value != inlineTable(nil) {
			written = append(written, "tls = "+value)
		}
	}
	return inlineTable(written)
}

// defaults returns what the keys of the table at path have where they are not
// written, which may depend on those that are.
func defaults(path string, settings []setting) []setting {
	has := func(key, value string) bool { return slices.Contains(settings, setting{key, value}) }
	f, b := NewFrontend(""), NewBackend("")
	switch kindOf(path) {
	case "frontend.NAME":
		f.DataProxyProtocol = has("proxy_protocol", "true")
		return f.settings()
	case "frontend.NAME.tls":
		f.TLS.RequireData = has("mode", `"required"`) || has("mode", `"implicit"`)
		if !has("client_ca", `""`) {
			f.TLS.ClientCertificate = certificateRequired
		}
		return f.TLS.settings()
	case "backend.NAME.tls":
		return b.TLS.settings()
	}
	return b.settings()
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
