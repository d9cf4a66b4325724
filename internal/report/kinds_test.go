package report

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// README's table of the log has each line that peers can cause, and so has the list of
// lines that are summed up.
func TestLogKindsInREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "**Lines that a peer can cause again and again**")
	list, _, _ = strings.Cut(list, "**What a peer has sent**")
	list = strings.Join(strings.Fields(list), " ")
	file, err := parser.ParseFile(token.NewFileSet(), "kinds.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		if key, ok := kv.Key.(*ast.Ident); !ok || key.Name != "Message" {
			return true
		}
		message, err := strconv.Unquote(kv.Value.(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if !strings.Contains(string(text), "\n| `"+message+"`") {
			t.Errorf("README.md has no row of %q", message)
		}
		if !strings.Contains(list, "`"+message+"`") {
			t.Errorf("README.md does not say that %q is summed up", message)
		}
		return true
	})
	if found < 20 {
		t.Errorf("%d messages; want more", found)
	}
}
