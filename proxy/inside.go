package proxy

import (
	"net/netip"

	"ftproxy/rewrite"
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
		if !s.knows(addr) && rewrite.Names(text, addr) {
			return true
		}
	}
	return false
}

// maskInside hides the addresses of our network in a server's text.
func (s *session) maskInside(text, host string, inside []netip.Addr) string {
	return rewrite.MaskInside(text, host, inside, s.knows)
}

// knows tells whether the client knows an address: it is its own, or where it has reached us.
func (s *session) knows(addr netip.Addr) bool {
	return addr == s.LocalAddr.Addr() || addr == s.ClientAddr.Addr().WithZone("")
}
