// Package binds finds out, before a configuration is put in force, whether this process
// may bind the addresses and ports that connections of it will come from or go to.
package binds

import (
	"errors"
	"fmt"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// A Network is what is asked.
type Network interface {
	// MayBind tells whether this process may dial from local, of which the
	// address or the port may be missing.
	MayBind(local tcp.Local) error
}

// Check finds what the process may not bind. Its errors are [*SourceError]s or, where
// there are none, [*PassiveError]s, joined.
func Check(network Network, c *config.Config) error {
	if err := sources(network, c); err != nil {
		return err
	}
	return passive(network, c)
}

// sources finds ports and addresses that the process may not connect from.
func sources(network Network, c *config.Config) error {
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

// passive finds addresses on which no data port could listen: every PASV would
// get 425.
func passive(network Network, c *config.Config) error {
	var failed []error
	for _, f := range c.Frontends {
		for _, addr := range f.PassiveBind.Addrs() {
			if addr.IsUnspecified() || f.FreeBind {
				continue
			}
			if err := network.MayBind(tcp.AnyPort(addr)); err != nil {
				failed = append(failed, &PassiveError{f.Name, addr, err})
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

// A PassiveError says which address of passive_bind this machine does not have.
type PassiveError struct {
	Frontend string
	Addr     netip.Addr
	Err      error
}

func (e *PassiveError) Error() string {
	return fmt.Sprintf("frontend %s: listening for data on %s: %v", e.Frontend, e.Addr, e.Err)
}

func (e *PassiveError) Unwrap() error { return e.Err }
