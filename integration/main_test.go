package integration

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var (
	raceEnabled bool   // the tests run with -race, so ftproxy is built with it
	binary      string // the built ftproxy; "" in direct mode
	direct      = os.Getenv("FTPROXY_DIRECT") == "1"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	code := runAll(m)
	if code == 0 && full && !direct {
		if err := report.write(filepath.Join("..", "docs", "compatibility.md")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func runAll(m *testing.M) int {
	if direct {
		return m.Run()
	}
	if binary = os.Getenv("FTPROXY_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "ftproxy-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "ftproxy")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "ftproxy/cmd/ftproxy")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
		return 1
	}
	return m.Run()
}

// throughProxy skips a test that makes no sense without ftproxy.
func throughProxy(t *testing.T) {
	t.Helper()
	if direct {
		t.Skip("FTPROXY_DIRECT=1: this test is about ftproxy")
	}
	dependOnSources()
}

// dependOnSources looks at ftproxy's sources. They are no imports of this
// package, but go test caches no result whose files have changed.
var dependOnSources = sync.OnceFunc(func() {
	filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
			os.Stat(path)
		}
		return nil
	})
})
