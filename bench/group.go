//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A group is the processes of one proxy. Where control groups can be made (as
// root) they account for it, children that have ended and the kernel's memory
// included; elsewhere the processes below its first one do, as far as they can.
type group struct {
	root   int    // process that all others are below
	cpu    string // folder of the controller, or ""
	memory string
	v2     bool
	dirs   []string
}

// hierarchies finds where control groups are mounted: version 2 with a memory
// controller, or version 1.
func hierarchies() (v2, cpu, memory string) {
	file, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", "", ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		field := strings.Fields(lines.Text())
		if len(field) < 4 {
			continue
		}
		options := strings.Split(field[3], ",")
		switch {
		case field[2] == "cgroup2":
			control, _ := os.ReadFile(field[1] + "/cgroup.subtree_control")
			if slices.Contains(strings.Fields(string(control)), "memory") {
				v2 = field[1]
			}
		case field[2] == "cgroup" && slices.Contains(options, "cpuacct"):
			cpu = field[1]
		case field[2] == "cgroup" && slices.Contains(options, "memory"):
			memory = field[1]
		}
	}
	return v2, cpu, memory
}

// newGroup makes control groups for a proxy, or returns a group that does
// without.
func newGroup(name string) *group {
	g := &group{}
	make := func(parent string) string {
		if parent == "" {
			return ""
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return ""
		}
		g.dirs = append(g.dirs, dir)
		return dir
	}
	v2, cpu, memory := hierarchies()
	if v2 != "" {
		if dir := make(v2); dir != "" {
			g.v2, g.cpu, g.memory = true, dir, dir
			return g
		}
	}
	g.cpu, g.memory = make(cpu), make(memory)
	return g
}

// groupName is the name of a bench's n-th group; sweep reads it.
func groupName(n int) string { return fmt.Sprintf("ftproxy-bench-%d-%d", os.Getpid(), n) }

// sweep ends what earlier runs left behind that were killed outright.
func sweep() {
	v2, cpu, memory := hierarchies()
	for _, parent := range []string{v2, cpu, memory} {
		dirs, _ := filepath.Glob(filepath.Join(parent, "ftproxy-bench-*"))
		for _, dir := range dirs {
			var pid, n int
			if _, err := fmt.Sscanf(filepath.Base(dir), "ftproxy-bench-%d-%d", &pid, &n); err != nil {
				continue
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
				(&group{dirs: []string{dir}}).kill()
			}
		}
	}
}

// cpuTime returns what the group's processes have used so far.
func (g *group) cpuTime() (time.Duration, error) {
	switch {
	case g.cpu == "":
		return g.treeTime()
	case g.v2:
		text, err := os.ReadFile(g.cpu + "/cpu.stat")
		if err != nil {
			return 0, err
		}
		usec, err := number(text, "usage_usec")
		return time.Duration(usec) * time.Microsecond, err
	}
	text, err := os.ReadFile(g.cpu + "/cpuacct.usage")
	if err != nil {
		return 0, err
	}
	nsec, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return time.Duration(nsec), err
}

var errNoGroup = errors.New("needs control groups with a memory controller")

// bytes returns the memory that is charged to the group, the kernel's included.
func (g *group) bytes() (int64, error) {
	name := "/memory.usage_in_bytes"
	switch {
	case g.memory == "":
		return 0, errNoGroup
	case g.v2:
		name = "/memory.current"
	}
	text, err := os.ReadFile(g.memory + name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// pss returns the proportional set size of all processes together.
func (g *group) pss() (int64, error) {
	total := int64(0)
	for _, pid := range g.processes() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue // it has ended
		}
		kib, err := number(text, "Pss:")
		if err != nil {
			return 0, err
		}
		total += kib << 10
	}
	return total, nil
}

// processes lists those that live.
func (g *group) processes() []int {
	if len(g.dirs) > 0 {
		text, _ := os.ReadFile(g.dirs[0] + "/cgroup.procs")
		var all []int
		for _, line := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(line); err == nil {
				all = append(all, pid)
			}
		}
		return all
	}
	children := make(map[int][]int)
	for _, s := range stats() {
		children[s.parent] = append(children[s.parent], s.pid)
	}
	if g.root == 0 {
		return nil
	}
	all := []int{g.root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// treeTime is the time of the processes that live and of those that they have
// waited for.
func (g *group) treeTime() (time.Duration, error) {
	ticks := int64(0)
	all := g.processes()
	for _, s := range stats() {
		if slices.Contains(all, s.pid) {
			ticks += s.ticks
		}
	}
	if ticks == 0 && len(all) == 0 {
		return 0, errors.New("no process")
	}
	return time.Duration(ticks) * time.Second / 100, nil
}

// stat is what /proc says of a process: its time with that of the children that
// it has waited for, in hundredths of a second.
type stat struct {
	pid, parent int
	ticks       int64
}

func stats() (all []stat) {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		field := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(field) < 15 {
			continue
		}
		var s stat
		s.pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(name)))
		s.parent, _ = strconv.Atoi(field[1])
		for _, f := range field[11:15] {
			ticks, _ := strconv.ParseInt(f, 10, 64)
			s.ticks += ticks
		}
		all = append(all, s)
	}
	return all
}

// kill ends all processes and removes the control groups.
func (g *group) kill() {
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		left := 0
		for _, pid := range g.processes() {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				left++
			}
		}
		if left == 0 {
			break
		}
		if len(g.dirs) == 0 {
			break // the first one is a zombie until it is waited for
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, dir := range g.dirs {
		for range 200 {
			if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// number returns the number behind a name in a file of lines "name number".
func number(text []byte, name string) (int64, error) {
	for line := range strings.Lines(string(text)) {
		field := strings.Fields(line)
		if len(field) >= 2 && field[0] == name {
			return strconv.ParseInt(field[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s", name)
}
