package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// checks is what the tables of a file must agree on.
type checks struct {
	listeners []listener
	ranges    []portUse
	routes    []route
	backends  []string
	checked   []string // of these, those whose servers are checked
	closing   []route  // of frontends with close_when_down
	servers   []serverUse
	binds     []bindUse
	sources   []portUse
}

// A listener is an address to listen on, and where it was written.
type listener struct {
	addr netip.AddrPort
	key  string
	line int
}

// A portUse is a range of data ports; if it was not written, line is that of its table.
type portUse struct {
	ports   PortRange
	key     string
	line    int
	written bool
}

// A route is the backend that a frontend names.
type route struct {
	name    string
	missing bool
	key     string
	line    int
}

// A serverUse is a server, and where it was written.
type serverUse struct {
	server Server
	key    string
	line   int
}

// check reports what is sound by itself and wrong beside the rest.
func (r *reader) check(k *checks) {
	r.checkPresence()
	r.checkRoutes(k)
	r.checkClosing(k)
	r.checkListeners(k.listeners)
	ranges := distinct(k.ranges)
	r.checkRanges(ranges)
	r.checkPorts(ranges, k.listeners)
	r.checkBinds(k.binds)
	r.checkSharedProxies(k.binds)
	r.checkSources(k.sources, ranges, k.listeners)
	r.checkLoops(k)
}

// checkPresence reports that there is no frontend or no backend, at the end
// of the file, where one would be added.
func (r *reader) checkPresence() {
	for _, kind := range []string{"frontend", "backend"} {
		e := r.doc.root.table[kind]
		if e != nil && (e.table == nil || len(e.table) > 0) {
			continue
		}
		line := r.doc.length
		if e != nil {
			line = e.line
		}
		hint := `write [frontend.NAME] with listen = ":21" and backend = "NAME" below`
		if kind == "backend" {
			hint = `write [backend.NAME] with servers = ["10.0.0.5:21"] below`
		}
		r.fault(line, kind, "there is no "+kind, hint)
	}
}

// checkRoutes reports frontends whose backend is missing or unknown.
func (r *reader) checkRoutes(k *checks) {
	if len(k.backends) == 0 {
		return // was reported, and nothing to choose from
	}
	known := "write backend = " + strings.ReplaceAll(quoteAll(k.backends), ", ", " or ")
	for _, route := range k.routes {
		switch {
		case route.missing:
			r.fault(route.line, route.key, "is missing", known)
		case slices.Contains(k.backends, route.name):
		default:
			hint := known
			if near := nearest(route.name, k.backends); near != "" && len(k.backends) > 1 {
				hint = fmt.Sprintf("write backend = %q; known are %s", near, quoteAll(k.backends))
			}
			r.fault(route.line, route.key, fmt.Sprintf("there is no backend %q", route.name), hint)
		}
	}
}

// checkClosing reports frontends that close when no server works, if nobody but their clients can
// find out that one works again.
func (r *reader) checkClosing(k *checks) {
	for _, f := range k.closing {
		if slices.Contains(k.backends, f.name) && !slices.Contains(k.checked, f.name) {
			r.fault(f.line, f.key, "needs checks, because no client can find out at a closed port that a server works again",
				fmt.Sprintf(`write kind = "ftp" in [backend.%s.check], or remove this key`, f.name))
		}
	}
}

// checkListeners reports addresses that cannot be bound together. The kernel
// refuses a specific address beside the wildcard of its family, too.
func (r *reader) checkListeners(all []listener) {
	for i, b := range all {
		for _, a := range all[:i] {
			if a.addr.Port() != b.addr.Port() || a.addr.Port() == 0 || !sameOrWildcard(a.addr.Addr(), b.addr.Addr()) {
				continue
			}
			first, second := a, b
			if second.line < first.line {
				first, second = second, first
			}
			message := fmt.Sprintf("%q is taken by %s", second.addr, place(first.key, first.line))
			hint := "write another address or port"
			if first.key == second.key {
				hint = "write it once"
			}
			if a.addr != b.addr {
				message = fmt.Sprintf("%q and %q of %s cannot both be bound", second.addr, first.addr, place(first.key, first.line))
				hint = "write the specific addresses instead of the wildcard, or another port"
			}
			r.fault(second.line, second.key, message, hint)
			break
		}
	}
}

// sameOrWildcard reports whether a connection to one of the addresses may be
// a connection to the other. Sockets of the two families are apart.
func sameOrWildcard(a, b netip.Addr) bool {
	return a.Is4() == b.Is4() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

// distinct returns one use of each range, because frontends may share one, and
// so may backends. It prefers a use that was written.
func distinct(all []portUse) []portUse {
	var list []portUse
	for _, u := range all {
		i := slices.IndexFunc(list, func(o portUse) bool { return o.ports == u.ports && side(o.key) == side(u.key) })
		switch {
		case i < 0:
			list = append(list, u)
		case u.written && !list[i].written:
			list[i] = u
		}
	}
	return list
}

// checkRanges reports distinct ranges that have ports in common: one side, or
// one frontend, would take the ports that a firewall expects of the other.
func (r *reader) checkRanges(all []portUse) {
	for i, b := range all {
		for _, a := range all[:i] {
			if !a.ports.Overlaps(b.ports) {
				continue
			}
			first, second := a, b
			if !second.written && first.written || second.written == first.written && second.line < first.line {
				first, second = second, first // complain about what was written, or came later
			}
			message := fmt.Sprintf("%q overlaps %q of %s", second.ports, first.ports, place(first.key, first.line))
			if !first.written {
				message += ", its default"
			}
			hint := "write a range that has no port of the other"
			if side(a.key) == side(b.key) {
				hint = fmt.Sprintf("write %q to share it, or a range that has no port of it", first.ports)
			}
			r.fault(second.line, second.key, message, hint)
			break
		}
	}
}

// side returns the last part of a key: passive_ports or data_ports.
func side(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// checkPorts reports listening addresses whose port lies in one of the ranges.
func (r *reader) checkPorts(ranges []portUse, all []listener) {
	for _, u := range ranges {
		var last listener
		for _, l := range all {
			if !u.ports.Contains(l.addr.Port()) {
				continue
			}
			same := l.key == last.key && l.addr.Port() == last.addr.Port() // ":21" is two addresses
			last = l
			if same {
				continue
			}
			if u.written {
				r.fault(u.line, u.key, fmt.Sprintf("%q holds port %d of %s", u.ports, l.addr.Port(), place(l.key, l.line)),
					"write a range without that port")
			} else {
				r.fault(l.line, l.key, fmt.Sprintf("port %d lies in %q, the default of %s", l.addr.Port(), u.ports, u.key),
					"write another port, or give "+u.key+" another range")
			}
		}
	}
}

// checkLoops reports servers that are ftproxy itself.
func (r *reader) checkLoops(k *checks) {
	own := make(map[netip.AddrPort]listener, len(k.listeners))
	for _, l := range k.listeners {
		if _, known := own[l.addr]; !known {
			own[l.addr] = l
		}
	}
	for _, s := range k.servers {
		for _, ip := range s.server.known() {
			l, found := own[netip.AddrPortFrom(ip, s.server.Port)]
			if !found && ip.IsLoopback() {
				l, found = own[netip.AddrPortFrom(unspecified(ip), s.server.Port)]
			}
			if found {
				r.fault(s.line, s.key, fmt.Sprintf("%q is ftproxy itself, by %s", s.server, place(l.key, l.line)),
					"write the address of the FTP server")
				break
			}
		}
	}
}

// known are the addresses of a server, as far as nobody has to be asked.
func (s Server) known() []netip.Addr {
	if strings.EqualFold(strings.TrimSuffix(s.Host, "."), "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	if ip, err := netip.ParseAddr(s.Host); err == nil {
		return []netip.Addr{ip}
	}
	return nil
}

// unspecified returns the wildcard address of the family of ip.
func unspecified(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func place(key string, line int) string { return fmt.Sprintf("%s (line %d)", key, line) }
