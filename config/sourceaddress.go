package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// The words of source and source_other_family.
const (
	sourceClient = "client"
	sourceRefuse = "refuse"
	sourceOwn    = "own"
)

// source reads source: "client", or one address of each family at most; and
// source_other_family.
func (t table) source(b *Backend) {
	const key, other = "source", "source_other_family"
	given := t.texts(key, sourceClient)
	switch {
	case len(given) == 1 && given[0].value == "":
	case len(given) == 1 && given[0].value == sourceClient:
		b.Source.Client = true
	default:
		t.ownAddresses(key, given, &b.Source.IPv4, &b.Source.IPv6, parseSource)
	}
	t.sourceOfServers(b)

	does := sourceRefuse
	t.choice(other, &does, sourceRefuse, sourceOwn)
	b.Source.Own = does == sourceOwn
	if b.Source.Own && !b.Source.Client {
		t.faultAt(t.line(other), other, wrongf(`write source = "client", too, or remove this key`, `has no effect without source = "client"`))
	}
}

// parseSource reads an address to connect from.
func parseSource(s string) (netip.Addr, *wrong) {
	const example = `write "client", or addresses of this machine like "10.0.0.2" and "fd00::2"`
	if s == sourceClient {
		return netip.Addr{}, wrongf(`write "client" alone, or the addresses without it`, `"client" stands beside others`)
	}
	ip, w := parseIP(s)
	switch {
	case w != nil && !ip.IsValid():
		w.hint = example
	case w == nil && ip.IsUnspecified():
		w = wrongf(example, "%q is every address", s)
	case w == nil && ip.Is6() && ip.IsLinkLocalUnicast():
		w = wrongf("write an address that needs no zone", "%q needs a zone, which is not supported", s)
	}
	return ip, w
}

// sourceOfServers reports servers that a fixed source leaves without an address to
// be reached from: the kernel would choose one, and nobody would notice.
func (t table) sourceOfServers(b *Backend) {
	if !b.Source.Fixed() {
		return
	}
	for _, s := range b.Servers {
		ip, err := netip.ParseAddr(s.Host)
		if err != nil {
			continue
		}
		family, name := familyOf(ip)
		if !b.Source.Of(family).IsValid() {
			t.faultAt(t.line("source"), "source", wrongf(fmt.Sprintf("add the %s address to connect from", name),
				"has no %s address, but the server %q has one", name, s))
			return
		}
	}
}

func familyOf(ip netip.Addr) (number int, name string) {
	if ip.Is4() {
		return 4, "IPv4"
	}
	return 6, "IPv6"
}

// sourceFamilies warns where a frontend listens for clients of a family in which
// none of the servers can be shown their address. Behind proxies the family of a
// client is not that of the connection.
func (c *Config) sourceFamilies(f *Frontend, warn func(key, message, hint string)) {
	i := slices.IndexFunc(c.Backends, func(b Backend) bool { return b.Name == f.Backend })
	if i < 0 || !c.Backends[i].Source.Client || c.Backends[i].Source.Own || f.ProxyProtocol {
		return
	}
	served := make(map[int]bool)
	for _, s := range c.Backends[i].Servers {
		ip, err := netip.ParseAddr(s.Host)
		if err != nil {
			return // A name may have both.
		}
		family, _ := familyOf(ip)
		served[family] = true
	}
	for _, family := range []int{4, 6} {
		if f.listensOn(family) && !served[family] {
			warn("frontend."+f.Name+".listen", fmt.Sprintf(`IPv%d clients get 421: no server of backend %s has an IPv%d address, and source = "client" shows servers the client's own`,
				family, f.Backend, family), fmt.Sprintf(`listen on IPv%d only, or write source_other_family = "own" in [backend.%s]`, 10-family, f.Backend))
		}
	}
}
