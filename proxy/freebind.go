package proxy

import (
	"errors"
	"fmt"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// A BindError says which address of passive_bind this machine does not have.
type BindError struct {
	Frontend string
	Addr     netip.Addr
	Err      error
}

func (e *BindError) Error() string {
	return fmt.Sprintf("frontend %s: listening for data on %s: %v", e.Frontend, e.Addr, e.Err)
}

func (e *BindError) Unwrap() error { return e.Err }

// checkBinds finds addresses on which no data port could listen: every PASV would
// get 425.
func (p *Process) checkBinds(c *config.Config) error {
	var failed []error
	for _, f := range c.Frontends {
		for _, addr := range f.PassiveBind.Addrs() {
			if addr.IsUnspecified() || f.FreeBind {
				continue
			}
			if err := p.network.MayBind(tcp.AnyPort(addr)); err != nil {
				failed = append(failed, &BindError{f.Name, addr, err})
			}
		}
	}
	return errors.Join(failed...)
}

// freeAddrs are the addresses that this machine may get later.
func freeAddrs(c *config.Config) map[netip.Addr]bool {
	free := make(map[netip.Addr]bool)
	for _, f := range c.Frontends {
		if !f.FreeBind {
			continue
		}
		for _, listen := range f.Listen {
			free[listen.Addr()] = true
		}
		for _, addr := range f.PassiveBind.Addrs() {
			free[addr] = true
		}
	}
	delete(free, netip.IPv4Unspecified())
	delete(free, netip.IPv6Unspecified())
	return free
}
