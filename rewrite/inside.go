package rewrite

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Names tells whether a text names an address, written as in a 227 or as in everything else.
func Names(text []byte, addr netip.Addr) bool {
	written := addr.WithZone("").String()
	return bytes.Contains(text, []byte(written)) ||
		addr.Is4() && bytes.Contains(text, []byte(strings.ReplaceAll(written, ".", ",")))
}

// hidden is what stands in a text in place of an inside address.
const hidden = "***"

// MaskInside hides the addresses of our network in a server's text: those in inside, all
// private ones, and the server's name (host). Those that known tells of are not hidden.
func MaskInside(text, host string, inside []netip.Addr, known func(netip.Addr) bool) string {
	text = addresses.ReplaceAllStringFunc(text, func(found string) string {
		word := strings.TrimRight(found, ".:")
		a, err := netip.ParseAddr(strings.ReplaceAll(word, ",", "."))
		a = a.Unmap()
		private := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
		if err != nil || known(a) || !private && !slices.Contains(inside, a) {
			return found
		}
		return hidden + found[len(word):]
	})
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		text = regexp.MustCompile(`(?i)`+regexp.QuoteMeta(host)).ReplaceAllLiteralString(text, hidden)
	}
	return text
}

// addresses finds what may be an address.
var addresses = regexp.MustCompile(`\d+(?:[.,]\d+){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*`)
