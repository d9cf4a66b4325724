package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// doubts warns of addresses that are sound and hardly meant.
func (c *Config) doubts(warn func(key, message, hint string)) {
	for _, f := range c.Frontends {
		key := "frontend." + f.Name + "."
		doubtPublic(&f, key+"public_address", f.PublicAddress, netip.Prefix{}, warn)
		for _, o := range f.PublicAddressFor {
			doubtPublic(&f, key+joinPath("public_address_for", o.Clients.String()), o.PublicAddress, o.Clients, warn)
		}
	}
	for _, b := range c.Backends {
		doubtBalance(&b, warn)
		for _, s := range b.Servers {
			if host, port, found := portInside(s); found {
				warn(b.keyOf(s), fmt.Sprintf("%q is an IPv6 address that ends like a port, so port 21 is used", s.Host),
					fmt.Sprintf("write %q for the port %s, or %q for the address", "["+host+"]:"+port, port, s))
			}
		}
	}
}

// doubtPublic warns of what clients of a network, or all of them, are told and
// cannot reach.
func doubtPublic(f *Frontend, key string, p PublicAddress, clients netip.Prefix, warn func(key, message, hint string)) {
	here := !slices.ContainsFunc(f.Listen, func(a netip.AddrPort) bool { return !a.Addr().IsLoopback() }) ||
		clients.IsValid() && clients.Addr().IsLoopback()
	for _, a := range []netip.Addr{p.IPv4, p.IPv6} {
		if a.IsLoopback() && !here {
			warn(key, fmt.Sprintf("%q is this machine itself, so clients on other machines get no data connection", a),
				`write the address that clients reach, or "auto"`)
		}
	}
	for _, host := range p.Hosts {
		if !strings.Contains(strings.TrimSuffix(host, "."), ".") {
			warn(key, fmt.Sprintf("%q is looked up as a host name, and has no domain", host),
				`write the address that clients reach, its whole name, or "auto"`)
		}
	}
}

// ftpPorts are those that FTP servers usually listen on.
var ftpPorts = []string{"21", "990", "2121"}

// portInside tells whether a server is written like "2001:db8::5:21", where the
// brackets before the port are missing.
func portInside(s Server) (host, port string, found bool) {
	if ip, err := netip.ParseAddr(s.Host); err != nil || !ip.Is6() || s.Port != 21 {
		return "", "", false
	}
	host, port = cutLast(s.Host, ":")
	return host, port, slices.Contains(ftpPorts, port) && !strings.HasSuffix(host, ":")
}

// Loops returns a fault for each server that is ftproxy itself, because a frontend
// listens on all addresses of this machine at its port, and the server's address is
// one that this machine has, as isLocal tells. lookup gives the addresses of a name; nil:
// names are not looked at. What the file alone tells is a fault when it is read.
func (c *Config) Loops(isLocal func(netip.Addr) bool, lookup func(host string) []netip.Addr) (loops Errors) {
	for _, b := range c.Backends {
		for _, s := range b.Servers {
			addrs, address := s.known(), "the address"
			if addrs == nil && lookup != nil && !s.SRV {
				addrs, address = lookup(s.Host), "an address of that name"
			}
			if f := c.ownAt(addrs, s.Port, isLocal); f != nil {
				loops = append(loops, c.Problem(b.keyOf(s),
					fmt.Sprintf("%q is ftproxy itself: this machine has %s, and %s listens on it", s, address, place(f.path()+".listen", c.line(f.path()+".listen"))),
					"write the address of the FTP server, or another port"))
			}
		}
	}
	return loops
}

// ownAt returns the frontend that one of a server's addresses reaches.
func (c *Config) ownAt(addrs []netip.Addr, port uint16, isLocal func(netip.Addr) bool) *Frontend {
	for _, ip := range addrs {
		if !ip.IsLoopback() && !isLocal(ip) {
			continue
		}
		for i := range c.Frontends {
			f := &c.Frontends[i]
			if slices.Contains(f.Listen, netip.AddrPortFrom(ip, port)) || slices.Contains(f.Listen, netip.AddrPortFrom(unspecified(ip), port)) {
				return f
			}
		}
	}
	return nil
}
