package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// addresses reads what a frontend says about addresses and ports besides
// passive_ports, which it has read.
func (t table) addresses(f *Frontend, k *checks) {
	f.PublicAddress = t.publicAddress("public_address", f.PublicAddress, f.Listen, netip.Prefix{})
	t.overrides(f)
	t.portOffset(f)
	t.passiveBind(f, k)
	t.dataPeer(f)
	f.ActiveSourcePorts = t.sourcePorts(k)
	f.AllowForeignData = t.networks("allow_foreign_data")
	f.Bandwidth = t.bandwidth("bandwidth")
	f.SessionBandwidth = t.bandwidth("session_bandwidth")
}

// publicAddress reads "auto", or a list of addresses and host names with one
// address of each family at most. Clients in network will be told, all if it
// is not valid.
func (t table) publicAddress(key string, fallback PublicAddress, listen []netip.AddrPort, network netip.Prefix) PublicAddress {
	given := t.texts(key, "auto")
	if t.entry.table[key] == nil {
		return fallback
	}
	var p PublicAddress
	sound := len(given) > 0
	refuse := func(line int, w *wrong) {
		sound = false
		t.faultAt(line, key, w)
	}
	for _, s := range given {
		if s.value == "auto" {
			if len(given) > 1 {
				refuse(s.line, wrongf(`write "auto" alone, or the addresses without it`, `"auto" stands beside other addresses`))
			}
			p.Auto = true
			continue
		}
		ip, host, w := parsePublic(s.value)
		switch {
		case w != nil:
			refuse(s.line, w)
			continue
		case host != "" && slices.Contains(p.Hosts, host):
			refuse(s.line, wrongf("write it once", "%q is named twice", host))
			continue
		case host != "":
			p.Hosts = append(p.Hosts, host)
			continue
		}
		family, place := "IPv6", &p.IPv6
		if ip.Is4() {
			family, place = "IPv4", &p.IPv4
		}
		if place.IsValid() {
			refuse(s.line, wrongf(fmt.Sprintf("write one of %q and %q", *place, ip), "%q is a second %s address", s.value, family))
			continue
		}
		*place = ip
	}
	needsIPv4 := slices.ContainsFunc(listen, func(a netip.AddrPort) bool { return a.Addr().Is4() }) &&
		(!network.IsValid() || network.Addr().Is4())
	if sound && needsIPv4 && !p.Auto && !p.IPv4.IsValid() && len(p.Hosts) == 0 {
		t.faultAt(t.line(key), key, wrongf(`add the IPv4 address that clients reach, or write "auto"`,
			"has no IPv4 address, but the frontend listens on one and a 227 reply needs it"))
	}
	return p
}

// overrides reads public_address_for, a table of networks.
func (t table) overrides(f *Frontend) {
	const key = "public_address_for"
	e := t.entry.table[key]
	if e == nil {
		return
	}
	if e.table == nil {
		t.wrongType(e.line, key, "a table of networks", e.value, `{ "10.0.0.0/8" = "auto" }`)
		return
	}
	inner := table{reader: t.reader, entry: e}
	for _, name := range sortedKeys(e.table) {
		line := e.table[name].line
		t.lines[e.table[name].path] = line
		network, w := parseNetwork(name)
		if w == nil && slices.ContainsFunc(f.PublicAddressFor, func(o PublicOverride) bool { return o.Clients == network }) {
			w = wrongf("write it once", "the network %s is named twice", network)
		}
		if w != nil {
			inner.faultAt(line, name, w)
			continue
		}
		p := inner.publicAddress(name, PublicAddress{}, f.Listen, network)
		f.PublicAddressFor = append(f.PublicAddressFor, PublicOverride{Clients: network, PublicAddress: p})
	}
	slices.SortFunc(f.PublicAddressFor, func(a, b PublicOverride) int {
		if d := b.Clients.Bits() - a.Clients.Bits(); d != 0 {
			return d
		}
		return a.Clients.Addr().Compare(b.Clients.Addr())
	})
}

// portOffset reads advertised_port_offset, with which every port of the range
// must still be one.
func (t table) portOffset(f *Frontend) {
	const key = "advertised_port_offset"
	t.whole(key, &f.AdvertisedPortOffset, -maxPort)
	first, last := int(f.PassivePorts.First)+f.AdvertisedPortOffset, int(f.PassivePorts.Last)+f.AdvertisedPortOffset
	if first < 1 || last > maxPort {
		t.faultAt(t.line(key), key, wrongf(fmt.Sprintf("write an offset with which %q stays within 1 to %d", f.PassivePorts, maxPort),
			"%d makes the ports %d to %d of %q", f.AdvertisedPortOffset, first, last, f.PassivePorts))
	}
}

const maxPort = 65535

// passiveBind reads passive_bind: one address of each family at most.
func (t table) passiveBind(f *Frontend, k *checks) {
	const key = "passive_bind"
	given := t.texts(key, "")
	if len(given) == 1 && given[0].value == "" {
		given = nil
	}
	t.ownAddresses(key, given, &f.PassiveBind.IPv4, &f.PassiveBind.IPv6, parseIP)
	k.binds = append(k.binds, bindUse{frontend: f, key: t.entry.path + "." + key, line: t.line(key)})
}

// ownAddresses reads addresses of this machine, one of each family at most.
func (t table) ownAddresses(key string, given []text, ipv4, ipv6 *netip.Addr, parse func(string) (netip.Addr, *wrong)) {
	for _, s := range given {
		ip, w := parse(s.value)
		if w == nil && (ip.IsMulticast() || ip == broadcast) {
			w = wrongf("write an address of this machine", "%q is not the address of one machine", s.value)
		}
		if w != nil {
			t.faultAt(s.line, key, w)
			continue
		}
		family, place := "IPv6", ipv6
		if ip.Is4() {
			family, place = "IPv4", ipv4
		}
		if place.IsValid() {
			t.faultAt(s.line, key, wrongf(fmt.Sprintf("write one of %q and %q", *place, ip), "%q is a second %s address", s.value, family))
			continue
		}
		*place = ip
	}
}

// dataPeer reads data_peer: "exact", or prefix lengths.
func (t table) dataPeer(f *Frontend) {
	const key, hint = "data_peer", `write "exact", or lengths like "/24" for IPv4 and "/64" for IPv6`
	given := t.texts(key, "exact")
	for i, s := range given {
		if s.value == "exact" && len(given) == 1 {
			return
		}
		n, err := strconv.Atoi(strings.TrimPrefix(s.value, "/"))
		switch {
		case !strings.HasPrefix(s.value, "/"), err != nil, n > 128, n < 0:
			t.faultAt(s.line, key, wrongf(hint, "%q is no length of a prefix", s.value))
		case n < 8, n > 32 && n < 48:
			t.faultAt(s.line, key, wrongf(hint, "%q would let half the world connect in place of the client", s.value))
		case slices.ContainsFunc(given[:i], func(o text) bool { return isIPv4Length(o.value) == isIPv4Length(s.value) }):
			t.faultAt(s.line, key, wrongf("write one up to /32, for IPv4, and one above, for IPv6", "%q is a second length for the same family", s.value))
		case n <= 32:
			f.DataPeer.IPv4 = n
		default:
			f.DataPeer.IPv6 = n
		}
	}
}

func isIPv4Length(s string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "/"))
	return err == nil && n <= 32
}

// sourcePorts reads active_source_ports: ports and ranges in the order in
// which they are tried.
func (t table) sourcePorts(k *checks) (all []PortRange) {
	const key = "active_source_ports"
	for _, s := range t.list(key, "20") {
		r, w := parsePortRange(s.value)
		if w == nil {
			for _, o := range all {
				if r.Overlaps(o) {
					w = wrongf("write each port once", "%q overlaps %q", r, o)
				}
			}
		}
		if w != nil {
			t.faultAt(s.line, key, w)
			continue
		}
		all = append(all, r)
		k.sources = append(k.sources, portUse{ports: r, key: t.entry.path + "." + key, line: s.line, written: true})
	}
	return all
}

// networks reads a list of networks, which may be empty.
func (t table) networks(key string) (all []netip.Prefix) {
	for _, s := range t.list(key, "10.0.0.0/8") {
		network, w := parseNetwork(s.value)
		if w == nil && slices.Contains(all, network) {
			w = wrongf("write it once", "the network %s is named twice", network)
		}
		if w != nil {
			t.faultAt(s.line, key, w)
			continue
		}
		all = append(all, network)
	}
	return all
}

// parseNetwork reads "10.0.0.0/8", or an address that is a network of its own.
func parseNetwork(s string) (netip.Prefix, *wrong) {
	const example = `write a network like "10.0.0.0/8" or "2001:db8::/32", or an address`
	if !strings.Contains(s, "/") {
		ip, w := parseIP(s)
		if w != nil {
			w.hint = example
			return netip.Prefix{}, w
		}
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, wrongf(example, "%q is no network", s)
	case p.Addr().Is4In6():
		return p, wrongf(example, "%q is an IPv4 network in IPv6 form", s)
	case p != p.Masked():
		return p, wrongf(fmt.Sprintf("write %q, or %q for the one address", p.Masked(), p.Addr()),
			"%q has bits behind its length", s)
	}
	return p, nil
}

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
