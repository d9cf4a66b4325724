//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A machine is where the figures are from. It has no name here.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	System string `json:"system"`
	Go     string `json:"go"`
	Date   string `json:"date"`
	// Stolen is the part of the run's CPU time that the hypervisor gave to
	// others, in percent.
	Stolen float64 `json:"stolen_percent"`
}

func thisMachine(cores int) machine {
	m := machine{Cores: cores, Go: goVersion(), Date: time.Now().UTC().Format(time.DateOnly)}
	m.CPU = field("/proc/cpuinfo", "model name", ":")
	m.System = strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`)
	var kib int
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal", ":"), "%d", &kib); err == nil {
		m.Memory = fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel, _, _ = strings.Cut(unix.ByteSliceToString(name.Release[:]), "-")
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s; Linux %s; %s; %s; %s", m.CPU, m.Cores, m.Memory, m.Kernel, m.System, m.Go, m.Date)
}

// A cpuTime is all cores' time so far, in hundredths of a second.
type cpuTime struct{ all, stolen float64 }

// cpuTimes reads the first line of /proc/stat; its eighth number is stolen.
func cpuTimes() (t cpuTime) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || i > 8 { // what follows is part of the others
			continue
		}
		t.all += n
		if i == 8 {
			t.stolen = n
		}
	}
	return t
}

func (t cpuTime) stolenSince(before cpuTime) float64 {
	if t.all <= before.all {
		return 0
	}
	return 100 * (t.stolen - before.stolen) / (t.all - before.all)
}

// field returns the value of the first line "name sep value" of a file.
func field(file, name, sep string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		key, value, found := strings.Cut(line, sep)
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func goVersion() string { return strings.Replace(runtime.Version(), "go", "Go ", 1) }

// peersCache is the folder that peers.sh fills.
func peersCache() string {
	if dir := os.Getenv("FTPROXY_PEERS"); dir != "" {
		return dir
	}
	dir := os.Getenv("XDG_CACHE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "/root"
		}
		dir = filepath.Join(home, ".cache")
	}
	return filepath.Join(dir, "ftproxy", "peers")
}

// build compiles ftproxy from the module in a folder.
func build(module, to string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", to, "./cmd/ftproxy")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// buildCommit compiles ftproxy as it was at a commit, and leaves the checkout
// alone.
func buildCommit(commit, dir, to string) error {
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	archive := filepath.Join(dir, "tree.tar")
	if out, err := exec.Command("git", "archive", "-o", archive, commit).CombinedOutput(); err != nil {
		return fmt.Errorf("git archive: %w\n%s", err, out)
	}
	if out, err := exec.Command("tar", "-xf", archive, "-C", tree).CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w\n%s", err, out)
	}
	return build(tree, to)
}
