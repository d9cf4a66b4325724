package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sort"
	"syscall"

	"ftproxy/config"
)

// descriptorLimit is how many file descriptors this process may have open, or 0
// where that is not known. Go raises the soft limit to the hard one before main.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur, math.MaxInt32))
}

// openDescriptors is how many of them are open now, or 0 where nothing tells.
func openDescriptors() int {
	dir, err := os.Open("/proc/self/fd")
	if errors.Is(err, syscall.EMFILE) {
		return descriptorLimit()
	}
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0
	}
	return len(names) - 1 // dir itself
}

// checkDescriptors finds a limit that is too low for what the configuration allows.
func checkDescriptors(conf *config.Config, limit int) error {
	needed := conf.Descriptors()
	if limit == 0 || needed <= limit {
		return nil
	}
	advice := ""
	fit := sort.Search(conf.Limits.Sessions, func(n int) bool {
		fewer := *conf
		fewer.Limits.Sessions = n + 1
		return fewer.Descriptors() > limit
	})
	if fit > 0 {
		advice = fmt.Sprintf(", or write limits.sessions = %d", fit)
	}
	return fmt.Errorf("limits.sessions = %d needs %d file descriptors, and this process may have %d: "+
		"set LimitNOFILE=%d in the systemd unit, or `ulimit -n %d` before the start%s",
		conf.Limits.Sessions, needed, limit, needed, needed, advice)
}
