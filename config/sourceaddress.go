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

// readSource reads "client", or one address of each family at most.
func readSource(c cell, source *Source) {
	given := c.texts(sourceClient)
	switch {
	case len(given) == 1 && given[0].value == "":
	case len(given) == 1 && given[0].value == sourceClient:
		source.Client = true
	default:
		c.ownAddresses(given, &source.IPv4, &source.IPv6, parseSource)
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
