package proxy

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Texts in place of a server's that names inside addresses.
const (
	textOpening  = "Opening data connection."
	textComplete = "Transfer complete."
	textFailed   = "Transfer failed."
)

// namesInside tells whether a reply to a transfer names the server's address or
// the one that the server knows us by. BSD's ftpd writes both ends of the data
// connection into its 150, ftpserverlib into its errors (H20). Where inside and
// outside are the same there is nothing to hide.
func (s *session) namesInside(text []byte) bool {
	for _, addr := range []netip.Addr{s.server.Addr.Addr(), s.server.Local.Addr()} {
		if addr == s.LocalAddr.Addr() || addr == s.ClientAddr.Addr().WithZone("") {
			continue
		}
		written := addr.WithZone("").String()
		if bytes.Contains(text, []byte(written)) ||
			addr.Is4() && bytes.Contains(text, []byte(strings.ReplaceAll(written, ".", ","))) {
			return true
		}
	}
	return false
}

// hidden is what stands in a text in place of an inside address.
const hidden = "***"

// maskInside hides the addresses of our network in a server's text: those in inside, all
// private ones, and the server's name. Where inside and outside are the same, as in
// namesInside, there is nothing to hide.
func (s *session) maskInside(text, host string, inside []netip.Addr) string {
	known := func(a netip.Addr) bool { return a == s.LocalAddr.Addr() || a == s.ClientAddr.Addr().WithZone("") }
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
