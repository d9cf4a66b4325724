package proxy

import (
	"errors"
	"fmt"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// checkSources finds ports and addresses that the process may not connect from.
func (p *Process) checkSources(c *config.Config) error {
	var failed []error
	try := func(local tcp.Local, e SourceError) {
		if e.Err = p.network.MayBind(local); e.Err != nil {
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
