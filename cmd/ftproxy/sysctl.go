package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ftproxy/config"
	"ftproxy/proxy"
)

// readSysctl reads which ports the kernel gives to outgoing connections. root
// is /proc/sys; other systems than Linux have none.
func readSysctl(root string) (config.Sysctl, error) {
	var s config.Sysctl
	ephemeral, err := os.ReadFile(filepath.Join(root, "net/ipv4/ip_local_port_range"))
	if err != nil {
		return s, err
	}
	fields := strings.Fields(string(ephemeral))
	if len(fields) != 2 {
		return s, fmt.Errorf("ip_local_port_range is %q", ephemeral)
	}
	if s.Ephemeral, err = parsePorts(fields[0] + "-" + fields[1]); err != nil {
		return s, fmt.Errorf("ip_local_port_range: %w", err)
	}
	reserved, err := os.ReadFile(filepath.Join(root, "net/ipv4/ip_local_reserved_ports"))
	if err != nil {
		return s, err
	}
	for part := range strings.SplitSeq(strings.TrimSpace(string(reserved)), ",") {
		if part == "" {
			continue
		}
		ports, err := parsePorts(part)
		if err != nil {
			return s, fmt.Errorf("ip_local_reserved_ports: %w", err)
		}
		s.Reserved = append(s.Reserved, ports)
	}
	return s, nil
}

// parsePorts reads "30000-30099" or "30000".
func parsePorts(text string) (config.PortRange, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return config.PortRange{}, err
	}
	high, err := strconv.ParseUint(last, 10, 16)
	if err != nil {
		return config.PortRange{}, err
	}
	return config.PortRange{First: uint16(low), Last: uint16(high)}, nil
}

// warnings are what config warns of on this machine. Where the kernel's ports
// cannot be read, nothing is said about them.
func (p *program) warnings(c *config.Config) []config.Problem {
	s, err := readSysctl(p.sysctl)
	if err != nil {
		s = config.Sysctl{}
	}
	all := config.Warnings(c, s)
	secrets, _ := proxy.Check(c) // Its faults are told where they are no warnings.
	for _, w := range secrets {
		all = append(all, c.Problem(w.Key, w.Message, w.Hint))
	}
	return all
}
