package listeners

import (
	"net"
	"net/netip"
)

// A listener accepts control connections. It belongs to the process; which
// frontend a connection is for is looked up where it is served, by the address that
// the client reached: see Find.
type listener struct {
	net.Listener
	key netip.AddrPort // as configured when it was opened
}

// wildcard is all addresses of the family of addr, at its port.
func wildcard(addr netip.AddrPort) netip.AddrPort {
	if addr.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
}

// A set is listeners that are open, by their address.
type set map[netip.AddrPort]*listener

// beside lists the listeners for single addresses that a wildcard has to be
// bound beside, because they stay; and with them the other family's wildcard,
// which the kernel has in the same place.
func (s set) beside(addr netip.AddrPort) (others []net.Listener) {
	if addr.Port() == 0 || !addr.Addr().IsUnspecified() {
		return nil
	}
	for key, l := range s {
		if key != addr && wildcard(key) == addr {
			others = append(others, l.Listener)
		}
	}
	if len(others) > 0 {
		other := netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
		if addr.Addr().Is6() {
			other = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
		}
		if l := s[other]; l != nil {
			others = append(others, l.Listener)
		}
	}
	return others
}

// listens tells whether one of them listens on addr.
func (s set) listens(addr netip.AddrPort) bool {
	return s[addr] != nil || addr.Port() != 0 && s[wildcard(addr)] != nil
}

// needed tells whether the listener key serves a frontend: of its address, of all
// addresses, or, being for all, of a single one that has no listener of its own.
func (s set) needed(key netip.AddrPort, wanted Wanted) bool {
	if wanted.has(key) {
		return true
	}
	if key.Port() == 0 {
		return false
	}
	if wanted.has(wildcard(key)) {
		return true
	}
	for addr := range wanted {
		if wildcard(addr) == key && s[addr] == nil {
			return true
		}
	}
	return false
}

// Find finds what is wanted of a connection to the address local that the listener key
// accepted. What is wanted at that very address goes before what is at all addresses.
func Find[T any](wanted map[netip.AddrPort]T, key netip.AddrPort, local netip.Addr) (found T) {
	if key.Port() == 0 { // Each such listener has a port of its own.
		return wanted[key]
	}
	for _, at := range []netip.AddrPort{netip.AddrPortFrom(local, key.Port()), key, wildcard(key)} {
		if found, ok := wanted[at]; ok {
			return found
		}
	}
	return found
}
