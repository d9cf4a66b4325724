package proxy

import (
	"cmp"
	"fmt"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/portpool"
)

// A Runtime is the rules of one configuration. It never changes once built: a
// session keeps the runtime that it began with.
type Runtime struct {
	timeouts  config.Timeouts
	limits    config.Limits
	frontends map[netip.AddrPort]*frontend // by listening address
}

// A frontend is what clients reach.
type frontend struct {
	name         string
	public       config.PublicAddress
	passivePorts portpool.Range
	banner       string
	backend      *backend
}

// A backend is a named group of servers.
type backend struct {
	name      string
	servers   []config.Server
	data      config.DataMode
	dataPorts portpool.Range
}

// newRuntime builds the rules from a checked configuration.
func newRuntime(c *config.Config) (*Runtime, error) {
	backends := make(map[string]*backend, len(c.Backends))
	for _, b := range c.Backends {
		backends[b.Name] = &backend{name: b.Name, servers: b.Servers, data: cmp.Or(b.Data, config.DataClient), dataPorts: portRange(b.DataPorts)}
	}
	rt := &Runtime{timeouts: c.Timeouts, limits: c.Limits, frontends: make(map[netip.AddrPort]*frontend)}
	for _, f := range c.Frontends {
		fe := &frontend{
			name:         f.Name,
			public:       f.PublicAddress,
			passivePorts: portRange(f.PassivePorts),
			banner:       f.Banner,
			backend:      backends[f.Backend],
		}
		if fe.backend == nil {
			return nil, fmt.Errorf("frontend %s: no backend %q", f.Name, f.Backend)
		}
		for _, addr := range f.Listen {
			if other, taken := rt.frontends[addr]; taken {
				return nil, fmt.Errorf("frontends %s and %s both listen on %s", other.name, f.Name, addr)
			}
			rt.frontends[addr] = fe
		}
	}
	return rt, nil
}

func portRange(r config.PortRange) portpool.Range {
	return portpool.Range{First: r.First, Last: r.Last}
}

// advertised is the address that a 227 gives to a client whose control
// connection reached us at local.
func (f *frontend) advertised(local netip.Addr) (addr netip.Addr, ok bool) {
	if f.public.Auto {
		return local, local.Is4()
	}
	return f.public.IPv4, f.public.IPv4.IsValid()
}

// isInside tells whether port is one that servers connect to.
func (rt *Runtime) isInside(port uint16) bool {
	for _, fe := range rt.frontends {
		if fe.backend.dataPorts.Contains(port) {
			return true
		}
	}
	return false
}
