package proxy

import (
	"bytes"
	"net/netip"
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
		if addr == s.local.Addr() || addr == s.clientAddr.Addr().WithZone("") {
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
