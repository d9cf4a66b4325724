package dial

import (
	"errors"
	"fmt"
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

// CheckSources finds ports and addresses of a configuration that this process may not connect
// from. Its errors are *[SourceError]s, joined.
func CheckSources(network Network, c *config.Config) error {
	var failed []error
	try := func(local tcp.Local, e SourceError) {
		if e.Err = network.MayBind(local); e.Err != nil {
			failed = append(failed, &e)
		}
	}
	for _, f := range c.Frontends {
		for _, r := range f.ActiveSourcePorts {
			try(tcp.AnyPort(netip.Addr{}).WithPort(r.First), SourceError{Frontend: f.Name, Port: r.First})
		}
	}
	for _, b := range c.Backends {
		if b.Source.Client {
			try(tcp.Local{Transparent: true}, SourceError{Backend: b.Name})
		}
		for _, addr := range []netip.Addr{b.Source.IPv4, b.Source.IPv6} {
			if addr.IsValid() {
				try(tcp.AnyPort(addr), SourceError{Backend: b.Name, Addr: addr})
			}
		}
	}
	return errors.Join(failed...)
}

// A SourceError says where this process may not connect from: a port that a
// frontend has in active_source_ports, or what a backend has as source.
type SourceError struct {
	Frontend string // with Port
	Port     uint16
	Backend  string
	Addr     netip.Addr // with Backend; the zero value stands for the addresses of clients
	Err      error
}

func (e *SourceError) Error() string {
	switch {
	case e.Frontend != "":
		return fmt.Sprintf("frontend %s: connecting from port %d: %v", e.Frontend, e.Port, e.Err)
	case e.Addr.IsValid():
		return fmt.Sprintf("backend %s: connecting from %s: %v", e.Backend, e.Addr, e.Err)
	}
	return fmt.Sprintf("backend %s: connecting from the addresses of clients: %v", e.Backend, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }
