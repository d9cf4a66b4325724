package config

import (
	"math"
	"net/netip"
)

// What one of each needs of file descriptors.
const (
	sessionDescriptors  = 2  // its two control connections
	transferDescriptors = 4  // two data connections, a pipe's two ends
	adminDescriptors    = 65 // the admin address and its connections, internal/admin.MaxConns
	otherDescriptors    = 64 // standard streams, the poller, logs, names, commands, reloads
)

// KeptDescriptors returns how many of limit file descriptors are kept for the
// sessions that run: new ones are refused when fewer are free.
func KeptDescriptors(limit int) int { return min(256, limit/8) }

// Descriptors returns how many file descriptors the process needs for all that
// c lets it do at once:
//
//	2 for each session (limits.sessions)
//	4 for each transfer (limits.transfers, or sessions where that is 0 or more than them)
//	1 for each data port that may listen: those of each distinct pair of passive_ports and
//	  local address, and of each distinct data_ports where servers may connect to them;
//	  but no more than transfers, because a port listens for one
//	1 for each listening address, the control socket included
//	65 for the admin address and its connections
//	64 for the rest
//
// and, so that all of this is there before new sessions are refused, what
// [KeptDescriptors] keeps of the result.
//
// The local addresses are those of [Frontend.DataAddrs]; a wildcard is one.
func (c *Config) Descriptors() (needed int) {
	sessions, transfers := int64(c.Limits.Sessions), int64(c.Limits.Transfers)
	if transfers == 0 || transfers > sessions {
		transfers = sessions
	}
	n := sessionDescriptors*sessions + transferDescriptors*transfers + otherDescriptors

	type pool struct {
		ports PortRange
		local netip.Addr
	}
	pools := make(map[pool]bool)
	for _, f := range c.Frontends {
		n += int64(len(f.Listen))
		for _, local := range f.DataAddrs() {
			pools[pool{f.PassivePorts, local}] = true
		}
	}
	for _, b := range c.Backends {
		if !b.Data.passive() {
			pools[pool{ports: b.DataPorts}] = true
		}
	}
	ports := int64(0)
	for p := range pools {
		ports += int64(p.ports.Len())
	}
	n += min(ports, transfers)
	if c.Admin.Listen.IsValid() {
		n += adminDescriptors
	}
	if c.Control.Socket != "" {
		n++
	}
	needed = int(min(n, math.MaxInt32-256)) // More than any system has.
	for used := needed; needed-KeptDescriptors(needed) < used; {
		needed++
	}
	return needed
}
