package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The kinds of keys that hold addresses, networks or ports.
var (
	listenAddresses = kind[[]netip.AddrPort]{`a list of "IP:PORT", "[IPv6]:PORT" or ":PORT"`, readListen, quoteListen}
	loopback        = kind[netip.AddrPort]{`"IP:PORT" or "[IPv6]:PORT" of a loopback address; "" is off`, readLoopback, optional}
	servers         = kind[[]Server]{`a list of "HOST", "HOST:PORT", "[IPv6]:PORT" or "srv:NAME"`, readServers, quoteServers}
	networks        = kind[[]netip.Prefix]{"a list of networks and addresses", readNetworks, quoteNetworks}
	bindAddresses   = kind[PassiveBind]{"a list of one IPv4 and one IPv6 address at most", readBind, PassiveBind.quote}
	peerLengths     = kind[DataPeer]{`"exact", or a list of prefix lengths like "/24"`, readPeerLengths, DataPeer.quote}
	sourcePorts     = kind[[]PortRange]{`a list of ports and ranges of ports, like "20" or "40000-40099"`, readSourcePorts, quoteList[PortRange]}
	sourceAddresses = kind[Source]{`"client", or a list of one IPv4 and one IPv6 address at most`, readSource, Source.quote}
)

// readListen notes each address, because no two may be the same.
func readListen(c cell, all *[]netip.AddrPort) {
	for _, s := range c.texts(":21") {
		addrs, w := looked(s.value, c.quoteInList, func(s string) ([]netip.AddrPort, *wrong) { return parseListen(s, "21") })
		if w != nil {
			c.fault(s.line, w)
			continue
		}
		for _, addr := range addrs {
			*all = append(*all, addr)
			c.in.checks.listeners = append(c.in.checks.listeners, listener{addr: addr, key: c.entry.path, line: s.line})
		}
	}
}

// readLoopback reads an address that only this machine can reach.
func readLoopback(c cell, listen *netip.AddrPort) {
	s, ok := c.text("127.0.0.1:9121")
	if !ok || s.value == "" {
		return
	}
	addrs, w := looked(s.value, c.quoteInList, func(s string) ([]netip.AddrPort, *wrong) { return parseListen(s, "9121") })
	if w == nil && (len(addrs) != 1 || !addrs[0].Addr().IsLoopback()) {
		port := addrs[0].Port()
		w = wrongf(fmt.Sprintf(`write "127.0.0.1:%d" or "[::1]:%d"`, port, port),
			"%q can be reached from other machines, and nothing protects it", s.value)
	}
	if w != nil {
		c.fault(s.line, w)
		return
	}
	*listen = addrs[0]
	c.in.checks.listeners = append(c.in.checks.listeners, listener{addr: *listen, key: c.entry.path, line: s.line})
}

// readServers notes each server, because none may be ftproxy itself.
func readServers(c cell, all *[]Server) {
	for _, s := range c.list("10.0.0.5:21") {
		server, w := looked(s.value, c.quoteInList, parseServer)
		if w == nil && slices.Contains(*all, server) {
			w = wrongf("write each server once", "%q is named twice", server)
		}
		if w != nil {
			c.fault(s.line, w)
			continue
		}
		*all = append(*all, server)
		c.in.checks.servers = append(c.in.checks.servers, serverUse{server: server, key: c.entry.path, line: s.line})
	}
}

// publicAddress reads "auto", or a list of addresses and host names with one
// address of each family at most. listen are the addresses of the frontend;
// clients in network will be told, all if it is not valid.
func (c cell) publicAddress(listen []netip.AddrPort, network netip.Prefix) (p PublicAddress) {
	given := c.texts("auto")
	for _, s := range given {
		if s.value == "auto" {
			if len(given) > 1 {
				c.fault(s.line, wrongf(`write "auto" alone, or the addresses without it`, `"auto" stands beside other addresses`))
			}
			p.Auto = true
			continue
		}
		if strings.EqualFold(s.value, "auto") || strings.EqualFold(s.value, "automatic") {
			c.fault(s.line, wrongf(`write "auto"`, "%q is not known", s.value))
			continue
		}
		var host string
		ip, w := looked(s.value, c.quoteInList, func(s string) (ip netip.Addr, w *wrong) {
			ip, host, w = parsePublic(s)
			return ip, w
		})
		switch {
		case w != nil:
			c.fault(s.line, w)
		case host != "" && slices.Contains(p.Hosts, host):
			c.fault(s.line, wrongf("write it once", "%q is named twice", host))
		case host != "":
			p.Hosts = append(p.Hosts, host)
		default:
			c.addOne(s, ip, &p.IPv4, &p.IPv6)
		}
	}
	needsIPv4 := slices.ContainsFunc(listen, func(a netip.AddrPort) bool { return a.Addr().Is4() }) &&
		(!network.IsValid() || network.Addr().Is4())
	if !c.entry.faulty && needsIPv4 && !p.Auto && !p.IPv4.IsValid() && len(p.Hosts) == 0 {
		c.fault(c.entry.line, wrongf(`add the IPv4 address that clients reach, or write "auto"`,
			"has no IPv4 address, but the frontend listens on one and a 227 reply needs it"))
	}
	return p
}

// addOne sets ipv4 or ipv6 to ip, of which a key has one of each at most.
func (c cell) addOne(s text, ip netip.Addr, ipv4, ipv6 *netip.Addr) {
	family, place := "IPv6", ipv6
	if ip.Is4() {
		family, place = "IPv4", ipv4
	}
	if place.IsValid() {
		c.fault(s.line, wrongf(fmt.Sprintf("write one of %q and %q", *place, ip), "%q is a second %s address", s.value, family))
		return
	}
	*place = ip
}

// overrides reads a table of networks.
func (c cell) overrides(f *Frontend) {
	if c.entry.table == nil {
		c.wrongType("a table of networks", `{ "10.0.0.0/8" = "auto" }`)
		return
	}
	inner := table{reader: c.in.reader, entry: c.entry}
	for _, name := range sortedKeys(c.entry.table) {
		o := cell{in: inner, key: name, entry: c.entry.table[name]}
		inner.lines[o.entry.path] = o.entry.line
		network, w := looked(name, quoteAll, parseNetwork)
		if w == nil && slices.ContainsFunc(f.PublicAddressFor, func(o PublicOverride) bool { return o.Clients == network }) {
			w = wrongf("write it once", "the network %s is named twice", network)
		}
		if w != nil {
			o.fault(o.entry.line, w)
			continue
		}
		f.PublicAddressFor = append(f.PublicAddressFor, PublicOverride{Clients: network, PublicAddress: o.publicAddress(f.Listen, network)})
	}
	slices.SortFunc(f.PublicAddressFor, func(a, b PublicOverride) int {
		if d := b.Clients.Bits() - a.Clients.Bits(); d != 0 {
			return d
		}
		return a.Clients.Addr().Compare(b.Clients.Addr())
	})
}

func readBind(c cell, b *PassiveBind) {
	given := c.texts("")
	if len(given) == 1 && given[0].value == "" {
		return
	}
	c.ownAddresses(given, &b.IPv4, &b.IPv6, parseBind)
}

// parseBind reads an address to listen on.
func parseBind(s string) (netip.Addr, *wrong) {
	switch {
	case strings.EqualFold(s, "auto"), strings.EqualFold(s, "default"):
		return netip.Addr{}, wrongf(`write "" for the address that the client reached`, "%q is no IP address", s)
	case s == "*", strings.EqualFold(s, "all"), strings.EqualFold(s, "any"):
		return netip.Addr{}, wrongf(`write ["0.0.0.0", "::"] for every address`, "%q is no IP address", s)
	}
	return parseIP(s)
}

// ownAddresses reads addresses of this machine, one of each family at most.
func (c cell) ownAddresses(given []text, ipv4, ipv6 *netip.Addr, parse func(string) (netip.Addr, *wrong)) {
	for _, s := range given {
		ip, w := looked(s.value, c.quoteInList, parse)
		if w == nil && (ip.IsMulticast() || ip == broadcast) {
			w = wrongf("write an address of this machine", "%q is not the address of one machine", s.value)
		}
		if w != nil {
			c.fault(s.line, w)
			continue
		}
		c.addOne(s, ip, ipv4, ipv6)
	}
}

func readPeerLengths(c cell, peer *DataPeer) {
	const hint = `write "exact", or lengths like "/24" for IPv4 and "/64" for IPv6`
	example := "exact"
	if n, ok := c.entry.value.(int64); ok && n >= 8 && n <= 128 {
		example = fmt.Sprintf("/%d", n)
	}
	given := c.texts(example)
	for i, s := range given {
		if s.value == "exact" && len(given) == 1 {
			return
		}
		n, err := strconv.Atoi(strings.TrimPrefix(s.value, "/"))
		switch {
		case prefixLength.MatchString(s.value):
			length := s.value[strings.IndexByte(s.value, '/')+1:]
			c.fault(s.line, wrongf(fmt.Sprintf("write %q", "/"+length), "%q is not written as a length", s.value))
		case !strings.HasPrefix(s.value, "/"), err != nil, n > 128, n < 0:
			c.fault(s.line, wrongf(hint, "%q is no length of a prefix", s.value))
		case n < 8, n > 32 && n < 48:
			c.fault(s.line, wrongf(hint, "%q would let half the world connect in place of the client", s.value))
		case slices.ContainsFunc(given[:i], func(o text) bool { return isIPv4Length(o.value) == isIPv4Length(s.value) }):
			c.fault(s.line, wrongf("write one up to /32, for IPv4, and one above, for IPv6", "%q is a second length for the same family", s.value))
		case n <= 32:
			peer.IPv4 = n
		default:
			peer.IPv6 = n
		}
	}
}

// prefixLength is a length of IPv4 without its slash, or with the address before it.
var prefixLength = regexp.MustCompile(`^(?:\d+\.\d+\.\d+\.\d+/|[0-9a-fA-F:]*:[0-9a-fA-F:]*/)?(?:[89]|[12]\d|3[0-2]|4[89]|[5-9]\d|1[01]\d|12[0-8])$`)

func isIPv4Length(s string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "/"))
	return err == nil && n <= 32
}

// readSourcePorts notes each range, because nothing may listen on its ports.
func readSourcePorts(c cell, all *[]PortRange) {
	for _, s := range c.list("20") {
		r, w := looked(s.value, c.quoteInList, parsePortRange)
		if w == nil {
			for _, o := range *all {
				if r.Overlaps(o) {
					w = wrongf("write each port once", "%q overlaps %q", r, o)
				}
			}
		}
		if w != nil {
			c.fault(s.line, w)
			continue
		}
		*all = append(*all, r)
		c.in.checks.sources = append(c.in.checks.sources, portUse{ports: r, key: c.entry.path, line: s.line, written: true})
	}
}

func readNetworks(c cell, all *[]netip.Prefix) {
	for _, s := range c.list("10.0.0.0/8") {
		network, w := looked(s.value, c.quoteInList, parseNetwork)
		if w == nil && slices.Contains(*all, network) {
			w = wrongf("write it once", "the network %s is named twice", network)
		}
		if w != nil {
			c.fault(s.line, w)
			continue
		}
		*all = append(*all, network)
	}
}

// parseNetwork reads "10.0.0.0/8", or an address that is a network of its own.
func parseNetwork(s string) (netip.Prefix, *wrong) {
	const example = `write a network like "10.0.0.0/8" or "2001:db8::/32", or an address`
	if !strings.Contains(s, "/") {
		if slices.Contains([]string{"any", "all", "*", "everyone", "anywhere", "everybody"}, strings.ToLower(s)) {
			return netip.Prefix{}, wrongf(`write "0.0.0.0/0" for every IPv4 address, and "::/0" for every IPv6 address`, "%q is no network", s)
		}
		ip, w := parseIP(s)
		if w != nil {
			w.hint = example
			return netip.Prefix{}, w
		}
		if ip.IsUnspecified() {
			return netip.Prefix{}, wrongf(fmt.Sprintf(`write "%s/0" for every address`, ip), "%q is the address of no machine", s)
		}
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, vaguef(example, "%q is no network", s)
	case p.Addr().Is4In6():
		return p, wrongf(example, "%q is an IPv4 network in IPv6 form", s)
	case p != p.Masked():
		return p, wrongf(fmt.Sprintf("write %q, or %q for the one address", p.Masked(), p.Addr()),
			"%q has bits behind its length", s)
	}
	return p, nil
}
