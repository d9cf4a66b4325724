package main

import (
	"os"
	"path/filepath"

	"ftproxy/config"
	"ftproxy/internal/ftps"
)

// readSysctl reads which ports the kernel gives to outgoing connections. root
// is /proc/sys; other systems than Linux have none.
func readSysctl(root string) (config.Sysctl, error) {
	var s config.Sysctl
	ephemeral, err := os.ReadFile(filepath.Join(root, "net/ipv4/ip_local_port_range"))
	if err != nil {
		return s, err
	}
	reserved, err := os.ReadFile(filepath.Join(root, "net/ipv4/ip_local_reserved_ports"))
	if err != nil {
		return s, err
	}
	return config.ParseSysctl(string(ephemeral), string(reserved))
}

// warnings are what config warns of on this machine. Where the kernel's ports
// cannot be read, nothing is said about them.
func (p *program) warnings(c *config.Config) []config.Problem {
	s, err := readSysctl(p.sysctl)
	if err != nil {
		s = config.Sysctl{}
	}
	all := config.Warnings(c, s)
	secrets, _ := ftps.Check(c) // Its faults are told where they are no warnings.
	for _, w := range secrets {
		all = append(all, c.Problem(w.Key, w.Message, w.Hint))
	}
	return append(all, doubtSocket(c)...)
}
