package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// checkLocalLoops finds servers that are ftproxy itself, by an address of this machine: a
// session with one begins the next, until no more are allowed. config.Load has refused
// those that the file alone shows. lookup resolves the names of servers; nil: nobody is
// asked, and a session that is led to ftproxy itself ends.
func checkLocalLoops(conf *config.Config, lookup func(host string) []netip.Addr) error {
	if loops := conf.Loops(tcp.IsLocal, lookup); len(loops) > 0 {
		return loops
	}
	return nil
}

// nameLimit is how long check waits for the names of servers, all together.
const nameLimit = 2 * time.Second

// lookUpServers is for checkLocalLoops. What is not found in time is not looked at.
func (p *program) lookUpServers(ctx context.Context) func(host string) []netip.Addr {
	lookup := p.lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	return func(host string) []netip.Addr {
		found, err := lookup(ctx, "ip", host)
		if err != nil {
			return nil
		}
		for i, a := range found {
			found[i] = a.Unmap()
		}
		return found
	}
}

// doubtSocket warns of a control socket whose directory is not there.
func doubtSocket(conf *config.Config) []config.Problem {
	if conf.Control.Socket == "" {
		return nil
	}
	directory := filepath.Dir(conf.Control.Socket)
	info, err := os.Stat(directory)
	switch {
	case os.IsNotExist(err):
		return []config.Problem{conf.Problem("control.socket", fmt.Sprintf("the directory %s does not exist", directory),
			"create it for the user of ftproxy, or have systemd create it: RuntimeDirectory=ftproxy makes /run/ftproxy when the service starts")}
	case err == nil && !info.IsDir():
		return []config.Problem{conf.Problem("control.socket", fmt.Sprintf("%s is not a directory", directory), "write a path in a directory")}
	}
	return nil
}
