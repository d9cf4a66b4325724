package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	raceEnabled bool   // the tests run with -race, so ftproxy is built with it
	binary      string // the built ftproxy; "" in direct mode
	direct      = os.Getenv("FTPROXY_DIRECT") == "1"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
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
}
