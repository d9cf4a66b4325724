package config

import (
	"fmt"
	"net/netip"
)

// A bindUse is where a frontend's data ports listen.
type bindUse struct {
	frontend *Frontend
	key      string
	line     int
}

// checkBinds reports frontends that share ports, one on the wildcard address
// and one on others: the kernel lets only one of the two listen.
func (r *reader) checkBinds(all []bindUse) {
	for i, b := range all {
		for _, a := range all[:i] {
			if !a.clashes(b) {
				continue
			}
			wildcard := "a wildcard address"
			if a.implied() || b.implied() {
				wildcard += ", the default behind proxies"
			}
			r.fault(b.line, b.key, fmt.Sprintf("differs from %s, and one of them is %s, while both have the ports %q",
				place(a.key, a.line), wildcard, b.frontend.PassivePorts), "give both the same passive_bind, or other passive_ports to one of them")
			break
		}
	}
}

// clashes tells whether one has a wildcard address where the other may have
// another, for the same ports.
func (b bindUse) clashes(o bindUse) bool {
	if !b.frontend.PassivePorts.Overlaps(o.frontend.PassivePorts) {
		return false
	}
	differ := func(b, o netip.Addr) bool { return b != o && (b.IsUnspecified() || o.IsUnspecified()) }
	mine, other := b.frontend.DataBind(), o.frontend.DataBind()
	return b.frontend.listensOn(4) && o.frontend.listensOn(4) && differ(mine.IPv4, other.IPv4) ||
		b.frontend.listensOn(6) && o.frontend.listensOn(6) && differ(mine.IPv6, other.IPv6)
}

// implied tells whether a wildcard address is one that nobody wrote.
func (b bindUse) implied() bool { return b.frontend.DataBind() != b.frontend.PassiveBind }

// checkSources reports source ports that something of ours listens on: the
// kernel gives no port to both.
func (r *reader) checkSources(sources, ranges []portUse, listeners []listener) {
	for _, s := range sources {
		taken := ""
		for _, u := range ranges {
			if u.ports.Overlaps(s.ports) {
				taken = fmt.Sprintf("%q of %s", u.ports, place(u.key, u.line))
			}
		}
		for _, l := range listeners {
			if s.ports.Contains(l.addr.Port()) {
				taken = fmt.Sprintf("port %d of %s", l.addr.Port(), place(l.key, l.line))
			}
		}
		if taken != "" {
			r.fault(s.line, s.key, fmt.Sprintf("%q overlaps %s", s.ports, taken), "write ports that nothing listens on, for example \"20\"")
		}
	}
}

// FreeAddrs are the addresses that this machine may get later.
func (c *Config) FreeAddrs() map[netip.Addr]bool {
	free := make(map[netip.Addr]bool)
	for _, f := range c.Frontends {
		if !f.FreeBind {
			continue
		}
		for _, listen := range f.Listen {
			free[listen.Addr()] = true
		}
		for _, addr := range f.PassiveBind.Addrs() {
			free[addr] = true
		}
	}
	delete(free, netip.IPv4Unspecified())
	delete(free, netip.IPv6Unspecified())
	return free
}
