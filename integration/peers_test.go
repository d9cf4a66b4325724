package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// missing ends a test that lacks a peer: a skip on a developer's machine, a
// failure where CI=true.
func missing(t testing.TB, why string) {
	t.Helper()
	lack(t, why+": integration/peers.sh gets it, as `make peers` run as root does")
}

// lack ends a test that this machine cannot run: a skip on a developer's, a
// failure where CI=true, so that no proof goes missing unseen.
func lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// command finds an installed peer.
func command(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is not installed")
	}
	return path
}

// python finds the interpreter itself: where "python3" is a wrapper script, that
// would take longer than most sessions.
func python(t testing.TB) string {
	t.Helper()
	path := command(t, "python3")
	out, err := exec.Command(path, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// unpacked finds a file (which may be a pattern) of a package that peers.sh
// unpacked, or the one of that name where the system has it installed.
func unpacked(t testing.TB, pkg, file string) string {
	t.Helper()
	cache := os.Getenv("FTPROXY_PEERS")
	if cache == "" {
		// The same folder as in peers.sh.
		cache = os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				home = "/root"
			}
			cache = filepath.Join(home, ".cache")
		}
		cache = filepath.Join(cache, "ftproxy", "peers")
	}
	for _, pattern := range []string{filepath.Join(cache, pkg, file), filepath.Join("/", file)} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	missing(t, pkg+" is neither in "+cache+" nor installed")
	return ""
}
