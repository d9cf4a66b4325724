package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestLocate(t *testing.T) {
	const q3, a3 = `"""`, `'''`
	for _, tt := range []struct {
		name, text string
		want       map[string]int
	}{
		{"empty", "", nil},
		{"header", "\n# [b]\n[ a ] # x\nk = 1\n", map[string]int{"a": 3, "a.k": 4}},
		{"implied before its header", "[a.b.c]\nk = 1\n[a]\nk=1", map[string]int{"a": 3, "a.b": 1, "a.b.c": 1, "a.b.c.k": 2, "a.k": 4}},
		{"implied after its header", "[a]\n[a.b.c]\n", map[string]int{"a": 1, "a.b": 2, "a.b.c": 2}},
		{"dotted", "a . b=1\na.c = 2\n[x]\na.b.c = 3", map[string]int{"a": 1, "a.b": 1, "a.c": 2, "x": 3, "x.a": 4, "x.a.b": 4, "x.a.b.c": 4}},
		{"quoted", "\"a.b\".'c d'.\"\\u00e9\\\"\" = 1\n'\\n' = 2", map[string]int{`"a.b"`: 1, `"a.b"."c d"`: 1, `"a.b"."c d"."é\""`: 1, `"\\n"`: 2}},
		{"no name", "\n[a]\n'' = 1\n[b]\n\"\".c = 2", map[string]int{"a": 2, `a.""`: 3, "b": 4, `b.""`: 5, `b."".c`: 5}},
		{"inline", "\na = { b = 1, c = { d = '}', \"e\" = [ { f = 1 } ] }, g.h = '' }\ni = {}", map[string]int{
			"a": 2, "a.b": 2, "a.c": 2, "a.c.d": 2, "a.c.e": 2, "a.g": 2, "a.g.h": 2, "i": 3}},
		{"strings", "a = " + q3 + "\n\\\"[b]\nb = 1\"\"" + q3 + "\nc = " + a3 + "\n[d]\nx=1" + a3 + "\ne = \"#\" # = [\n[f]", map[string]int{"a": 1, "c": 4, "e": 7, "f": 8}},
		{"values", "a = 1979-05-27 07:32:00\nb = [1, [2,\n3] # ]\n, 4]\nc = true # d = 1\ne = +inf", map[string]int{"a": 1, "b": 2, "c": 5, "e": 6}},
		{"list of tables", "[[a]]\nk = 1\n\n[[a]]\nk = 1\n[a.b]\nk = 1", map[string]int{"a": 1, "a.k": 2, "a.b": 6, "a.b.k": 7}},
		{"carriage returns", "[a]\r\nb = 1\r\n\r\nc.d=[1,\r\n2]\r\ne=0", map[string]int{"a": 1, "a.b": 2, "a.c": 4, "a.c.d": 4, "a.e": 6}},
		{"deep", "a.b.c.d.e.f.g.h.i.j.k = 1\n", map[string]int{"a": 1, "a.b": 1, "a.b.c": 1, "a.b.c.d": 1, "a.b.c.d.e": 1, "a.b.c.d.e.f": 1, "a.b.c.d.e.f.g": 1, "a.b.c.d.e.f.g.h": 1}},
	} {
		if err := decode(tt.text, new(map[string]any)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		marks := locate(tt.text)
		for path, line := range tt.want {
			if marks[path].line != line {
				t.Errorf("%s: %s is in line %d, want %d", tt.name, path, marks[path].line, line)
			}
		}
		for path, m := range marks {
			if tt.want[path] == 0 && path != "[]" && !strings.HasPrefix(path, "[].") {
				t.Errorf("%s: there is no %s, found in line %d", tt.name, path, m.line)
			}
		}
	}
}

// FuzzLocate holds that the keys of any sound text are found where the library
// found them, and that no text at all does harm.
func FuzzLocate(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, example) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("a.\"b\\n\".'c' = [1, [2], { x = '''a''' }] # x\n[[d]]\n[d.e]\nf = { g = 1, h = [\n] }\n")
	f.Fuzz(func(t *testing.T, text string) {
		marks := locate(text)
		var top map[string]toml.Primitive
		md, err := decodeAt(text, &top)
		if err != nil {
			return
		}
		compareLines(t, text, marks, &md, position{}, top)
	})
}

func decodeAt(text string, v any) (md toml.MetaData, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the TOML library failed")
		}
	}()
	return toml.Decode(text, v)
}

// A probe takes a value as it is and fails: the library tells where a key
// stands only in the error of an Unmarshaler.
type probe struct{ value any }

func (p *probe) UnmarshalTOML(v any) error {
	p.value = v
	return errors.New("probe")
}

func compareLines(t *testing.T, text string, marks map[string]mark, md *toml.MetaData, table position, values map[string]toml.Primitive) {
	t.Helper()
	if table.depth >= maxDepth {
		return
	}
	for name, primitive := range values {
		var v probe
		var at toml.ParseError
		errors.As(md.PrimitiveDecode(primitive, &v), &at)
		p := position{joinPath(table.path, name), table.depth + 1}
		m, found := marks[p.path]
		if !found {
			t.Errorf("%s is not found in\n%s", p.path, text)
			continue
		}
		var keys map[string]toml.Primitive
		_, isTable := v.value.(map[string]any)
		_, isList := v.value.([]map[string]any)
		list, isArray := v.value.([]any)
		if isTable && md.PrimitiveDecode(primitive, &keys) == nil {
			compareLines(t, text, marks, md, p, keys)
		}
		if isArray && len(m.elements) != len(list) {
			t.Errorf("%s has %d elements, found %d in\n%s", p.path, len(list), len(m.elements), text)
		}
		if !slices.IsSorted(m.elements) {
			t.Errorf("%s: elements in the lines %d", p.path, m.elements)
		}
		s, _ := v.value.(string)
		switch {
		case at.Position.Line == 0 || isList: // implied; or the last of several
		case strings.Contains(p.path, `""`) || hasNoName(v.value): // the library takes it for its table
		case strings.Contains(s, "\n") || strings.Contains(text, `"""`) || strings.Contains(text, `'''`): // begins in the next line
		default:
			if line := strings.Count(text[:at.Position.Start], "\n") + 1; line != m.line {
				t.Errorf("%s is in line %d, found in %d of\n%s", p.path, line, m.line, text)
			}
		}
	}
}

func hasNoName(v any) bool {
	table, _ := v.(map[string]any)
	_, has := table[""]
	return has
}
