package tcp

import (
	"net/netip"
	"slices"
)

// Within tells whether an address is in one of the networks, whatever its zone.
func Within(networks []netip.Prefix, addr netip.Addr) bool {
	addr = addr.WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}
