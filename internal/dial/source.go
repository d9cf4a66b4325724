package dial

import (
	"errors"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// Why a server cannot be reached from where the configuration says.
var (
	errOtherFamily = errors.New("the client's address is none that the server can answer, and no other may be shown")
	errNoSource    = errors.New("the backend's source has no address of the server's family")
)

// towards is our end of connections to a server on behalf of a client. Data comes
// from the same address as control: vsftpd refuses it from any other (H67).
func towards(s config.Source, server, client netip.Addr) (tcp.Local, error) {
	switch {
	case s.Client && answerable(client, server):
		return tcp.Local{AddrPort: netip.AddrPortFrom(client, 0), Transparent: true}, nil
	case s.Client && !s.Own:
		return tcp.Local{}, errOtherFamily
	case !s.Fixed():
		return tcp.Local{}, nil
	}
	family := 6
	if server.Is4() {
		family = 4
	}
	if addr := s.Of(family); addr.IsValid() {
		return tcp.AnyPort(addr), nil
	}
	return tcp.Local{}, errNoSource
}

// answerable tells whether a server can answer a client's address. One with a zone
// means something on the client's link only.
func answerable(client, server netip.Addr) bool {
	return client.Is4() == server.Is4() && client.Zone() == ""
}
