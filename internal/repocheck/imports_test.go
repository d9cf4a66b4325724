// Package repocheck holds the rules of the repository: which package may import which,
// and how long a file may be. docs/architecture.md draws them.
package repocheck

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "ftproxy"

// mayImport lists, for each package of ours, those of ours that it may import
// outside its tests. A package that is not listed is a fault: the rule grows
// with the repository. The leaves import none of ours but internal/tcp, which is what all
// of them ask the kernel by, internal/logline, and the grammar of internal/ftp;
// internal/transfer joins some of them.
var mayImport = map[string][]string{
	"cmd/ftproxy":          {"config", "proxy", "internal/balance", "internal/resolve", "internal/certs", "internal/binds", "internal/firewall", "internal/ftps", "internal/listeners", "internal/metrics", "internal/admin", "internal/tcp"},
	"config":               nil,
	"rewrite":              nil,
	"proxy":                {"config", "rewrite", "internal/binds", "internal/control", "internal/dial", "internal/ftp", "internal/ftps", "internal/identify", "internal/listeners", "internal/logline", "internal/modes", "internal/names", "internal/origin", "internal/pace", "internal/portpool", "internal/registry", "internal/report", "internal/servers", "internal/balance", "internal/tcp", "internal/tickets", "internal/timers", "internal/transfer", "internal/proxyheader", "internal/metrics", "internal/workers"},
	"internal/balance":     nil,
	"internal/binds":       {"config", "internal/tcp"},
	"internal/certs":       nil,
	"internal/control":     {"internal/tcp"},
	"internal/dial":        {"config", "internal/balance", "internal/control", "internal/ftp", "internal/ftps", "internal/logline", "internal/metrics", "internal/proxyheader", "internal/tcp"},
	"internal/ftp":         nil,
	"internal/ftps":        {"config", "internal/certs", "internal/tcp", "internal/tickets"}, // it builds what a configuration asks for
	"internal/identify":    {"internal/ftps", "internal/logline", "internal/origin", "internal/portpool", "internal/report", "internal/tcp", "internal/tickets", "internal/transfer"},
	"internal/listeners":   {"config", "internal/logline", "internal/tcp"},
	"internal/logline":     {"internal/ftp"},
	"internal/modes":       {"config", "internal/ftp", "internal/logline", "rewrite"},
	"internal/names":       {"internal/logline"},
	"internal/origin":      {"internal/logline", "internal/proxyheader", "internal/tcp"},
	"internal/pace":        nil,
	"internal/portpool":    {"internal/tcp"},
	"internal/registry":    {"internal/control", "internal/ftp", "internal/logline"},
	"internal/report":      {"internal/balance", "internal/dial", "internal/ftp", "internal/ftps", "internal/logline", "internal/metrics", "internal/origin", "internal/portpool", "internal/tcp", "internal/transfer"},
	"internal/resolve":     {"config", "internal/logline"}, // it looks up the servers of a configuration
	"internal/servers":     {"config", "internal/balance", "internal/dial", "internal/ftp", "internal/ftps", "internal/logline", "internal/metrics", "internal/proxyheader", "internal/resolve", "internal/tcp"},
	"internal/splice":      {"internal/tcp"},
	"internal/tcp":         nil,
	"internal/transfer":    {"internal/ftp", "internal/ftps", "internal/logline", "internal/pace", "internal/portpool", "internal/proxyheader", "internal/splice", "internal/tcp"},
	"internal/tickets":     nil,
	"internal/timers":      nil,
	"internal/proxyheader": {"internal/tcp"},
	"internal/firewall":    {"config"}, // for PortRange; what it prints stays a pure function of its Setup
	"internal/metrics":     nil,
	"internal/workers":     nil,
	"internal/admin":       nil,
	"internal/ftptest":     {"internal/certs"},
	"internal/repocheck":   nil,
	"integration":          nil,
	"bench":                {"internal/certs"},
}

// confined lists the packages that may import a library, directly or by a
// package below its path.
var confined = map[string][]string{
	"github.com/BurntSushi/toml":              {"config"},
	"github.com/prometheus/":                  {"internal/metrics", "internal/admin"},
	"github.com/pires/go-proxyproto":          {"internal/proxyheader"},
	"github.com/rs/zerolog":                   {"proxy", "internal/logline", "internal/admin", "cmd/ftproxy"},
	"github.com/fclairamb/ftpserverlib":       {"cmd/ftproxy"},
	"github.com/coreos/go-systemd":            {"cmd/ftproxy"},
	"github.com/mattn/go-isatty":              {"cmd/ftproxy"},
	"github.com/miekg/dns":                    nil, // tests only
	"github.com/prometheus/client_golang/api": nil,
}

// pure packages hold no connection, clock, log or lock.
var (
	pure   = []string{"rewrite", "internal/ftp", "internal/firewall", "internal/modes"}
	impure = []string{"net", "time", "log", "log/slog", "sync", "sync/atomic", "context", "os", "syscall", "golang.org/x/sys/unix"}
)

func TestImports(t *testing.T) {
	for file, imports := range goImports(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		pkg := path.Dir(file)
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: package %s is not in mayImport", file, pkg)
		}
		for _, imported := range imports {
			if inside, ours := strings.CutPrefix(imported, module+"/"); ours && !slices.Contains(allowed, inside) {
				t.Errorf("%s: %s must not import %s", file, pkg, inside)
			}
			for library, allowed := range confined {
				if strings.HasPrefix(imported+"/", strings.TrimSuffix(library, "/")+"/") && !slices.Contains(allowed, pkg) {
					t.Errorf("%s: %s must not import %s", file, pkg, imported)
				}
			}
			if slices.Contains(pure, pkg) && slices.Contains(impure, imported) {
				t.Errorf("%s: %s is pure and must not import %s", file, pkg, imported)
			}
		}
	}
}

// maxLines is the length of a file that is not a test.
const maxLines = 400

func TestFileLength(t *testing.T) {
	for file := range goImports(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it", file, n, maxLines)
		}
	}
}

// goImports returns the imports of each Go file of the module, by the file's
// path with slashes.
func goImports(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join("..", "..")
	imports := make(map[string][]string)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() != ".." && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		list := []string{}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			list = append(list, imported)
		}
		imports[filepath.ToSlash(relative)] = list
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(imports) == 0 {
		t.Fatal("no Go files found")
	}
	return imports
}
