package config

import (
	"fmt"
	"slices"
	"strings"
)

// A Sysctl is what the kernel says about ports. The zero value knows nothing
// and gives no warning.
type Sysctl struct {
	Ephemeral PortRange   // net.ipv4.ip_local_port_range
	Reserved  []PortRange // net.ipv4.ip_local_reserved_ports
}

// ParseSysctl reads the texts of /proc/sys/net/ipv4/ip_local_port_range and
// ip_local_reserved_ports.
func ParseSysctl(portRange, reserved string) (Sysctl, error) {
	var s Sysctl
	bounds := strings.Fields(portRange)
	if len(bounds) != 2 {
		return s, fmt.Errorf("ip_local_port_range %q: want two ports", portRange)
	}
	r, w := parsePortRange(bounds[0] + "-" + bounds[1])
	if w != nil {
		return s, fmt.Errorf("ip_local_port_range: %s", w.message)
	}
	s.Ephemeral = r
	for field := range strings.SplitSeq(strings.TrimSpace(reserved), ",") {
		if field == "" {
			continue
		}
		r, w := parsePortRange(field)
		if w != nil {
			return s, fmt.Errorf("ip_local_reserved_ports: %s", w.message)
		}
		s.Reserved = append(s.Reserved, r)
	}
	return s, nil
}

// Warnings returns what is allowed in c and likely a mistake, sorted by line:
// data ports that the kernel may give to other connections, data ports below
// 1024, bandwidths that cannot be kept, a listening port of 0, data that reaches
// proxies which do not say whose it is, clients of a family that no server of
// theirs has where it must, a backend that no frontend names, what no firewall
// should be asked to let through, TLS that protects little, and keys that stand
// under their old names.
func Warnings(c *Config, s Sysctl) []Problem {
	var problems []Problem
	warn := func(key, message, hint string) {
		problems = append(problems, c.Problem(key, message, hint))
	}
	reserve := c.reservation(s)
	ports := func(key string, r PortRange) {
		if open := s.unreserved(r); len(open) > 0 {
			warn(key, fmt.Sprintf("the kernel may give the ports %s to other connections (net.ipv4.ip_local_port_range is %d %d)",
				joinRanges(open), s.Ephemeral.First, s.Ephemeral.Last),
				"write ports outside of that range, or run: sysctl -w net.ipv4.ip_local_reserved_ports="+reserve)
		}
		if r.First < firstUnprivileged {
			warn(key, fmt.Sprintf("%q holds ports below %d, which need the capability CAP_NET_BIND_SERVICE", r, firstUnprivileged),
				fmt.Sprintf("write ports from %d up", firstUnprivileged))
		}
	}
	slow := func(key string, b Bandwidth) {
		if b > 0 && b < keptBandwidth {
			warn(key, fmt.Sprintf("%d B/s is kept over minutes only, because the kernel sends tens of kilobytes at once", b), "write 20kB/s or more")
		}
	}
	used := make(map[string]bool)
	for _, f := range c.Frontends {
		used[f.Backend] = true
		key := "frontend." + f.Name
		ports(key+".passive_ports", f.PassivePorts)
		slow(key+".bandwidth", f.Bandwidth)
		slow(key+".session_bandwidth", f.SessionBandwidth)
		if f.ProxyProtocol && !f.DataProxyProtocol && f.PublicAddress.Auto && !f.ProxyHeaderAfterGreeting {
			warn(key+".data_proxy_protocol", `is false, but with public_address = "auto" clients connect to the proxy for data, too, and what comes from there without a PROXY header is refused`,
				"write data_proxy_protocol = true, or the address where clients reach ftproxy itself as public_address")
		}
		f.greetFirst(warn)
		c.sourceFamilies(&f, warn)
		for _, a := range f.Listen {
			if a.Port() == 0 {
				warn(key+".listen", fmt.Sprintf("%q has port 0, so the port differs at every start", a), "write port 21")
			}
		}
	}
	for _, b := range c.Backends {
		key := "backend." + b.Name
		ports(key+".data_ports", b.DataPorts)
		slow(key+".bandwidth", b.Bandwidth)
		if !used[b.Name] {
			warn(key, "no frontend names this backend", fmt.Sprintf("write backend = %q in a frontend, or remove [%s]", b.Name, key))
		}
	}
	c.exposure(warn)
	c.doubts(warn)
	c.tlsWarnings(warn)
	for _, p := range c.renamed {
		warn(p.Key, p.Message, p.Hint)
	}
	sortProblems(problems)
	return problems
}

// Problem returns one of the key at a dotted path, with where it stands: for
// what only shows when the configuration is put to use, such as a file that it
// names and that cannot be read.
func (c *Config) Problem(key, message, hint string) Problem {
	return Problem{File: c.file, Line: c.line(key), Key: key, Message: message, Hint: hint}
}

// Written tells whether a key stands in the file that c was read from.
func (c *Config) Written(key string) bool {
	_, written := c.lines[key]
	return written
}

// line returns where a key stands, or else its table; 0 if c was not read from a file.
func (c *Config) line(key string) int {
	for {
		if line, ok := c.lines[key]; ok {
			return line
		}
		i := strings.LastIndexByte(key, '.')
		if i < 0 {
			return 0
		}
		key = key[:i]
	}
}

// unreserved returns the parts of r that are ephemeral and not reserved.
func (s Sysctl) unreserved(r PortRange) []PortRange {
	if s.Ephemeral == (PortRange{}) || !r.Overlaps(s.Ephemeral) {
		return nil
	}
	first, last := int(max(r.First, s.Ephemeral.First)), int(min(r.Last, s.Ephemeral.Last))
	var open []PortRange
	for _, reserved := range MergePorts(s.Reserved) {
		if int(reserved.Last) < first || int(reserved.First) > last {
			continue
		}
		if int(reserved.First) > first {
			open = append(open, PortRange{uint16(first), reserved.First - 1})
		}
		first = int(reserved.Last) + 1
	}
	if first <= last {
		open = append(open, PortRange{uint16(first), uint16(last)})
	}
	return open
}

// reservation returns the value that ip_local_reserved_ports must have. It is
// one value for all ranges and keeps what is reserved already, because
// writing it replaces the old one.
func (c *Config) reservation(s Sysctl) string {
	all := slices.Clone(s.Reserved)
	for _, f := range c.Frontends {
		if len(s.unreserved(f.PassivePorts)) > 0 {
			all = append(all, f.PassivePorts)
		}
	}
	for _, b := range c.Backends {
		if len(s.unreserved(b.DataPorts)) > 0 {
			all = append(all, b.DataPorts)
		}
	}
	return joinRanges(MergePorts(all))
}

// joinRanges writes ranges as the kernel does: "30000-30099,31000".
func joinRanges(all []PortRange) string {
	texts := make([]string, len(all))
	for i, r := range all {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}
