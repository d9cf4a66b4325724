//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// launch becomes another program: on one core, in control groups, as a user, and
// dead when the benchmark is. It runs as a process of its own, because all of
// that must hold before the program's first instruction.
func launch(args []string) error {
	flags := flag.NewFlagSet("launch", flag.ContinueOnError)
	cpu := flags.Int("cpu", -1, "core to stay on; -1 is any")
	uid := flags.Int("uid", 0, "user to be; 0 is no change")
	groups := flags.String("groups", "", "folders of control groups, with colons between")
	if err := flags.Parse(args); err != nil {
		return err
	}
	command := flags.Args()
	if len(command) == 0 {
		return fmt.Errorf("launch: no command")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	for _, dir := range strings.Split(*groups, ":") {
		if dir == "" {
			continue
		}
		if err := os.WriteFile(dir+"/cgroup.procs", []byte("0"), 0); err != nil {
			return err
		}
	}
	if *cpu >= 0 {
		if err := pin(0, *cpu); err != nil {
			return err
		}
	}
	if *uid != 0 {
		if err := syscall.Setgroups(nil); err != nil {
			return fmt.Errorf("setgroups: %w", err)
		}
		if err := syscall.Setgid(*uid); err != nil {
			return fmt.Errorf("setgid: %w", err)
		}
		if err := syscall.Setuid(*uid); err != nil {
			return fmt.Errorf("setuid: %w", err)
		}
	}
	// What changes the user takes this away, so it comes last.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	return syscall.Exec(path, command, os.Environ())
}

// pin keeps a thread (0 is the caller) on a core.
func pin(thread, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	return nil
}
