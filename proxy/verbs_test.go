package proxy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"ftproxy/internal/ftp"
	"ftproxy/internal/transfer"
)

// All that is known of a verb is in its row: no list, case or condition outside the
// table has two verbs, except those of data connections, which internal/modes makes
// of each other.
func TestVerbsHaveOneList(t *testing.T) {
	listed := func(n ast.Node) bool {
		if binary, ok := n.(*ast.BinaryExpr); ok {
			return binary.Op == token.LOR
		}
		switch n.(type) {
		case *ast.CompositeLit, *ast.CaseClause:
			return true
		}
		return false
	}
	tables := 0
	for _, file := range goFiles(t) {
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			if isVerbTable(n) {
				tables++
				return false
			}
			if n == nil || !listed(n) {
				return true
			}
			if names := verbsIn(n); len(names) > 1 {
				t.Errorf("%s: %q stand in a list of their own; want a flag in the table", file.at(n), names)
			}
			return true
		})
	}
	if tables != 1 {
		t.Errorf("there are %d tables of verbs; want 1", tables)
	}
}

// Each flag of the table is asked for.
func TestVerbFlagsAreRead(t *testing.T) {
	given, asked := make(map[string]bool), make(map[string]bool)
	for _, file := range goFiles(t) {
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "flags" {
					collect(n.Value, given)
				}
			case *ast.CallExpr:
				if called, ok := n.Fun.(*ast.SelectorExpr); ok && called.Sel.Name == "has" && len(n.Args) == 1 {
					collect(n.Args[0], asked)
				}
			}
			return true
		})
	}
	if !maps.Equal(given, asked) {
		t.Errorf("flags of the table: %v; flags that are asked for: %v", given, asked)
	}
}

func collect(n ast.Node, names map[string]bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok {
			names[name.Name] = true
		}
		return true
	})
}

func TestVerbRows(t *testing.T) {
	for name, v := range verbs {
		if v.direction == transfer.Upload && !v.has(writes) {
			t.Errorf("%s uploads and does not write", name)
		}
		if (v.class == classTransfer) != (v.direction != transfer.NoData) {
			t.Errorf("%s is of class %q and has direction %d", name, v.class, v.direction)
		}
		if v.overtake != nil && !v.has(crosses) {
			t.Errorf("%s overtakes, so clients say it without waiting for a reply", name)
		}
		if v.class == "" && (v.from != 0 || v.do != nil || v.reply != nil || v.noted != nil || v.overtake != nil) {
			t.Errorf("%s has no class and more than flags", name)
		}
		for other := range verbs {
			if v.has(secret) && name != other && strings.HasPrefix(other, name) {
				t.Errorf("%s might be %s with a secret behind it", other, name)
			}
		}
	}
}

// internal/ftp knows the names of the table, so that reading them costs no allocation.
func TestVerbNamesAreInterned(t *testing.T) {
	for name := range verbs {
		a, b := parsed(t, name).Verb, parsed(t, name).Verb
		if a != name || unsafe.StringData(a) != unsafe.StringData(b) {
			t.Errorf("%s is not in internal/ftp/verbs.go", name)
		}
	}
}

// A goFile is a file of this package that is not a test.
type goFile struct {
	syntax *ast.File
	set    *token.FileSet
}

func (f goFile) at(n ast.Node) token.Position { return f.set.Position(n.Pos()) }

func goFiles(t *testing.T) (files []goFile) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		syntax, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, goFile{syntax, set})
	}
	return files
}

// isVerbTable tells whether n is a map[string]verb with its rows.
func isVerbTable(n ast.Node) bool {
	table, ok := n.(*ast.CompositeLit)
	if !ok {
		return false
	}
	kind, ok := table.Type.(*ast.MapType)
	if !ok {
		return false
	}
	row, ok := kind.Value.(*ast.Ident)
	return ok && row.Name == "verb"
}

// verbsIn lists the verbs that n's strings are. Of a case it is the condition.
func verbsIn(n ast.Node) []string {
	found := make(map[string]bool)
	look := func(n ast.Node) bool {
		text, ok := n.(*ast.BasicLit)
		if !ok || text.Kind != token.STRING {
			return true
		}
		value, err := strconv.Unquote(text.Value)
		if err != nil {
			return true
		}
		names := strings.Split(value, " ")
		if slices.ContainsFunc(names, func(name string) bool { _, known := verbs[name]; return !known }) {
			return true // A sentence, or a whole command.
		}
		for _, name := range names {
			if v := verbs[name]; v.class != classSetup || v.reply == nil {
				found[name] = true
			}
		}
		return true
	}
	if clause, ok := n.(*ast.CaseClause); ok {
		for _, condition := range clause.List {
			ast.Inspect(condition, look)
		}
	} else {
		ast.Inspect(n, look)
	}
	return slices.Sorted(maps.Keys(found))
}

func parsed(t *testing.T, line string) ftp.Command {
	t.Helper()
	c, err := ftp.NewCommandReader(strings.NewReader(line + "\r\n")).Read()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
