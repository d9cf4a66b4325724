package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A wrong says what is wrong with one value and what to write instead.
type wrong struct {
	message, hint string
	vague         bool // the hint is only an example: perhaps it was a slip
	final         bool // it was no slip
}

func wrongf(hint, format string, a ...any) *wrong {
	return &wrong{message: fmt.Sprintf(format, a...), hint: hint}
}

// vaguef is wrongf for a text that may be a slip of a kind that looked knows.
func vaguef(hint, format string, a ...any) *wrong {
	w := wrongf(hint, format, a...)
	w.vague = true
	return w
}

// finalf is wrongf for a text that is no slip, whatever it looks like.
func finalf(hint, format string, a ...any) *wrong {
	w := wrongf(hint, format, a...)
	w.final = true
	return w
}

// parseListen reads an address to listen on: "192.0.2.1:21", "[2001:db8::1]:21",
// or ":21" for the wildcard address of both families. usual is the port to
// propose where there is none.
func parseListen(s, usual string) ([]netip.AddrPort, *wrong) {
	example := fmt.Sprintf(`write "IP:PORT", "[IPv6]:PORT" or ":PORT", for example %q`, ":"+usual)
	if s == "" {
		return nil, wrongf(example, "the address is empty")
	}
	host, portText, w := cutPort(s, usual)
	if w != nil {
		return nil, w
	}
	if host == "localhost" {
		if _, err := parsePort(portText); err != nil {
			portText = usual
		}
		return nil, wrongf(fmt.Sprintf("write %q", "127.0.0.1:"+portText), "%q is a host name, not an IP address", s)
	}
	if portText == "" {
		if _, err := parsePort(host); err == nil {
			return nil, wrongf(fmt.Sprintf("write %q", ":"+host), "%q has no colon before the port", s)
		}
		if _, err := netip.ParseAddr(s); err == nil && strings.Contains(s, ":") {
			return nil, wrongf(fmt.Sprintf(`write the address in brackets and the port behind it, as in "[2001:db8::1]:%s"`, usual),
				"%q is an IPv6 address without brackets", s)
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return nil, vaguef(example, "%q is no address with a port", s)
		}
		return nil, wrongf(fmt.Sprintf("write %q", joinPort(host, usual)), "%q has no port", s)
	}
	port, err := parsePort(portText)
	if err != nil {
		return nil, wrongf(fmt.Sprintf("write %q", joinPort(host, usual)), "%q is no port number", portText)
	}
	switch host {
	case "":
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), port),
			netip.AddrPortFrom(netip.IPv6Unspecified(), port),
		}, nil
	case "*":
		return nil, wrongf(fmt.Sprintf("write %q for all addresses", ":"+portText), "%q is no address", s)
	}
	ip, w := parseIP(host)
	if w != nil {
		if ip.Is4In6() {
			w.hint = fmt.Sprintf("write %q", netip.AddrPortFrom(ip.Unmap(), port))
		}
		return nil, w
	}
	if ip.IsMulticast() || ip == broadcast {
		return nil, wrongf("write an address of this machine, or "+strconv.Quote(":"+portText)+" for all of them",
			"%q is not the address of one machine", host)
	}
	return []netip.AddrPort{netip.AddrPortFrom(ip, port)}, nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// cutPort splits "host:port", "[v6]:port", ":port"; the port is empty where
// there is none, as in "host", "v6" or "[v6]". usual is the port to propose.
func cutPort(s, usual string) (host, port string, w *wrong) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, port, ok = strings.Cut(rest, "]")
		if !ok || port != "" && port[0] != ':' || port == ":" {
			return "", "", wrongf(fmt.Sprintf(`write "[IPv6]:PORT", for example "[2001:db8::1]:%s"`, usual), "%q is no address", s)
		}
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
			return "", "", wrongf(fmt.Sprintf("write %q", host+port), "%q has brackets around an IPv4 address", s)
		}
		return host, strings.TrimPrefix(port, ":"), nil
	}
	switch strings.Count(s, ":") {
	case 0:
		return s, "", nil
	case 1:
		host, port, _ = strings.Cut(s, ":")
		if port == "" {
			return "", "", wrongf(fmt.Sprintf("write %q", host+":"+usual), "%q has no port behind the colon", s)
		}
		return host, port, nil
	}
	return s, "", nil
}

// joinPort writes host and port in the form that cutPort reads.
func joinPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// parsePort reads 0 to 65535, in digits only.
func parsePort(s string) (uint16, error) {
	if strings.HasPrefix(s, "+") {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

// parseIP reads an IPv4 or IPv6 address. Zones are refused because none of
// the rules about addresses knows them, IPv4-mapped addresses because they
// name an IPv4 address in a second way.
func parseIP(s string) (netip.Addr, *wrong) {
	ip, err := netip.ParseAddr(s)
	switch {
	case err != nil && isHostName(s):
		return ip, wrongf("write the IP address that it stands for", "%q is a host name, not an IP address", s)
	case err != nil:
		return ip, vaguef(`write an address like "192.0.2.1" or "2001:db8::1"`, "%q is no IP address", s)
	case ip.Zone() != "":
		return ip, wrongf("write an address that needs no zone", "%q has a zone, which is not supported", s)
	case ip.Is4In6():
		return ip, wrongf(fmt.Sprintf("write %q", ip.Unmap()), "%q is an IPv4 address in IPv6 form", s)
	}
	return ip, nil
}

// parsePublic reads an address to be told to clients, or the name of a host
// that has one.
func parsePublic(s string) (ip netip.Addr, host string, w *wrong) {
	const example = `write the address that clients reach, or "auto"`
	if s == "" {
		return ip, "", wrongf(example, "the address is empty")
	}
	if host, port, w := cutPort(s, "21"); w == nil && (port != "" || host != s) {
		if ip, err := netip.ParseAddr(host); err == nil || isHostName(host) {
			if err == nil {
				host = ip.String()
			}
			return ip, "", wrongf(fmt.Sprintf("write %q", host), "%q is more than an address", s)
		}
	}
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return ip, "", wrongf(fmt.Sprintf("write %q", prefix.Addr()), "%q is a network, not an address", s)
	}
	if _, err := netip.ParseAddr(s); err != nil && isHostName(s) {
		return ip, s, nil
	}
	ip, w = parseIP(s)
	switch {
	case w != nil:
		return ip, "", w
	case ip.IsUnspecified():
		return ip, "", wrongf(example, "%q is no address that a client can connect to", s)
	case ip.IsMulticast(), ip == broadcast:
		return ip, "", wrongf(example, "%q is not the address of one machine", s)
	}
	return ip, "", nil
}

// parseServer reads a server's control address: "host", "host:port",
// "[v6]:port" or "v6"; the port is 21 where none is given.
func parseServer(s string) (Server, *wrong) {
	const example = `write "HOST" or "HOST:PORT", for example "10.0.0.5:21"`
	if s == "" {
		return Server{}, wrongf(example, "the server is empty")
	}
	if name, found := cutSRV(s); found {
		return parseSRV(name)
	}
	switch host := cutURL(s); strings.ToLower(strings.TrimRight(scheme.FindString(s), ":/")) {
	case "", "ftp":
	case "ftps", "ftpes":
		return Server{}, finalf(fmt.Sprintf(`write %q, and mode = "explicit" or "implicit" in the backend's table tls`, host), "%q is a URL", s)
	case "sftp", "ssh", "scp":
		return Server{}, finalf(`write the address of an FTP server, for example "10.0.0.5:21"`, "%q is a URL of SFTP, which is SSH and not FTP", s)
	default:
		return Server{}, finalf(example, "%q is a URL, and not of FTP", s)
	}
	host, portText, w := cutPort(s, "21")
	if w != nil {
		return Server{}, w
	}
	if host == "" {
		return Server{}, wrongf(example, "%q has no host", s)
	}
	port := uint16(21)
	if portText != "" {
		n, err := parsePort(portText)
		if err != nil || n == 0 {
			return Server{}, wrongf(fmt.Sprintf("write %q", joinPort(host, "21")), "%q is no port number", portText)
		}
		port = n
	}
	if _, err := netip.ParseAddr(host); err == nil {
		ip, w := parseIP(host)
		if w != nil {
			return Server{}, w
		}
		if ip.IsUnspecified() || ip.IsMulticast() || ip == broadcast {
			return Server{}, wrongf("write the server's own address", "%q is not the address of one machine", host)
		}
		return Server{Host: ip.String(), Port: port, Weight: 1}, nil
	}
	if !isHostName(host) {
		return Server{}, vaguef(example, "%q is neither an IP address nor a host name", host)
	}
	return Server{Host: host, Port: port, Weight: 1}, nil
}

// cutLast is strings.Cut at the last separator; all is behind it where there is none.
func cutLast(s, sep string) (before, after string) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):]
	}
	return "", s
}

// isHostName reports whether s can be the name of a host. A last label made
// of digits is a mistyped IPv4 address, not a name. Underscores are no part
// of a host name but inside networks have them.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if len(label) > 63 || !isName(label) || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
