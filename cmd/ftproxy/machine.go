package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// isLocal tells whether this machine has an address: then the kernel reaches it from that
// address itself. No packet is sent. A list of all addresses would need a netlink socket,
// which the unit for systemd forbids.
func isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	if err != nil {
		return false
	}
	defer conn.Close()
	return tcp.AddrPort(conn.LocalAddr()).Addr() == ip
}

// checkLocalLoops finds servers that are ftproxy itself, by an address of this machine: a
// session with one begins the next, until no more are allowed. config.Load has refused
// those that the file alone shows.
func checkLocalLoops(conf *config.Config) error {
	if loops := conf.Loops(isLocal); len(loops) > 0 {
		return loops
	}
	return nil
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
