package rewrite

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseEPRT reads the argument of EPRT, as in "|1|192.0.2.1|5000|": network
// protocol 1 (IPv4) or 2 (IPv6), address and port between equal delimiters,
// any character of 33 to 126 (RFC 2428 §2). An IPv4 address mapped into IPv6
// is returned as IPv4; brackets and zones are refused, and so is port 0. Its
// errors are ErrProtocol for another network protocol, and ErrSyntax.
func ParseEPRT(arg string) (netip.AddrPort, error) {
	s := strings.Trim(arg, " \t")
	if s == "" || s[0] < 33 || s[0] > 126 {
		return netip.AddrPort{}, syntaxError("EPRT", arg)
	}
	field := strings.Split(s, s[:1])
	if len(field) != 5 || field[4] != "" {
		return netip.AddrPort{}, syntaxError("EPRT", arg)
	}
	if isProtocol(field[1]) && field[1] != "1" && field[1] != "2" {
		return netip.AddrPort{}, fmt.Errorf("EPRT: %w: %s", ErrProtocol, field[1])
	}
	ip, err := netip.ParseAddr(field[2])
	port, ok := parsePort(field[3])
	family := field[1] == "1" && ip.Is4() || field[1] == "2" && ip.Is6() && ip.Zone() == ""
	if err != nil || !ok || !family {
		return netip.AddrPort{}, syntaxError("EPRT", arg)
	}
	return netip.AddrPortFrom(ip.Unmap(), port), nil
}

// FormatEPRT returns "|1|192.0.2.1|5000|" or "|2|2001:db8::1|5000|". A zone
// is left out; an address that is none becomes 0.0.0.0.
func FormatEPRT(a netip.AddrPort) string {
	ip, protocol := a.Addr().Unmap().WithZone(""), "2"
	if !ip.Is6() {
		ip, protocol = netip.AddrFrom4(ipv4(a)), "1"
	}
	return "|" + protocol + "|" + ip.String() + "|" + strconv.Itoa(int(a.Port())) + "|"
}
