package config

import (
	"fmt"
	"slices"
	"strings"
)

// Explain returns what there is to know about the keys and tables that name may
// mean: "frontend.NAME.passive_ports", with or without the name of a frontend, or
// "passive_ports" alone. Its error proposes keys.
func Explain(name string) (string, error) {
	asked := strings.Split(strings.Trim(name, "[] "), ".")
	for _, means := range []func(path, asked []string) bool{ends, fits} {
		if texts := explanations(asked, means); len(texts) > 0 {
			return strings.Join(texts, "\n"), nil
		}
	}
	hint := `"ftproxy check -example" prints every key`
	if near := near(asked[len(asked)-1]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return "", fmt.Errorf("there is no key %q; %s", name, hint)
}

// explanations are those of all keys and tables whose path means what was asked.
func explanations(asked []string, means func(path, asked []string) bool) (texts []string) {
	for _, t := range Tables() {
		path := strings.Split(t.Path, ".")
		if means(path, asked) {
			texts = append(texts, t.explain())
		}
		for _, k := range t.Keys {
			if means(append(path, k.Name), asked) || k.Old != "" && means(append(path, k.Old), asked) {
				texts = append(texts, k.explain(t.Path))
			}
		}
	}
	return texts
}

// ends tells whether a path without NAME ends with what was asked:
// frontend.NAME.tls.mode with mode, tls.mode or frontend.tls.mode.
func ends(path, asked []string) bool {
	path = slices.DeleteFunc(slices.Clone(path), isAny)
	return len(path) >= len(asked) && slices.Equal(path[len(path)-len(asked):], asked)
}

// fits tells whether a path is the one that was asked, with any name for NAME. At
// its end NAME fits itself only, or else every mistyped key of a frontend would.
func fits(path, asked []string) bool {
	return path[len(path)-1] == asked[len(asked)-1] && slices.EqualFunc(path, asked, func(part, asked string) bool {
		return part == asked || isAny(part)
	})
}

// What stands in a path for the name of a frontend or a backend, and of a server.
const (
	anyName  = "NAME"
	anyLabel = "LABEL"
)

func isAny(part string) bool { return part == anyName || part == anyLabel }

// near returns the paths of the keys whose name is most like key.
func near(key string) (paths []string) {
	var names []string
	for _, t := range Tables() {
		for _, k := range t.Keys {
			names = append(names, k.Name)
		}
	}
	best := nearest(key, names)
	for _, t := range Tables() {
		for _, k := range t.Keys {
			if k.Name == best {
				paths = append(paths, t.Path+"."+k.Name)
			}
		}
	}
	return paths
}

func (k Key) explain(table string) string {
	text := table + "." + k.Name + "\n\n" + wrap(k.Help, "  ") + "\n"
	line := func(what, is string) { text += fmt.Sprintf("  %-9s %s\n", what+":", is) }
	line("Kind", k.Kind)
	if k.Default == "" {
		line("Default", "none, you must write the key, for example "+k.Name+" = "+k.Example)
	} else {
		line("Default", k.Default)
	}
	line("Table", where(table))
	if k.Old != "" {
		line("Old name", k.Old+", which still works")
	}
	return text
}

func (t Table) explain() string {
	names := make([]string, len(t.Keys))
	for i, k := range t.Keys {
		names[i] = k.Name
	}
	return where(t.Path) + "\n\n" + wrap(t.Help, "  ") + "\n" + wrap("Keys: "+strings.Join(names, ", "), "  ")
}

// where is the header of a table.
func where(path string) string {
	text := "[" + path + "]"
	if kind, rest, named := strings.Cut(path, "."+anyName); named {
		text += ", where " + anyName + " is the name of a " + kind
		if strings.HasSuffix(rest, anyLabel) {
			text += " and " + anyLabel + " that of a server"
		}
	}
	return text
}
