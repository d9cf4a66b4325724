package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"ftproxy/config"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftps"
	"ftproxy/internal/listeners"
	"ftproxy/internal/portpool"
	"ftproxy/internal/tcp"
)

// A Runtime is the rules of one configuration. It never changes once built: a
// session keeps the runtime that it began with.
type Runtime struct {
	timeouts  config.Timeouts
	limits    config.Limits
	frontends map[netip.AddrPort]*frontend // by listening address
	backends  map[string]*backend
	closes    bool                // some frontend has close_when_down
	hosts     []string            // names of public addresses
	free      map[netip.Addr]bool // addresses that this machine may get later

	certificates []ftps.Certificate // that clients see, of each frontend

	bandwidths map[string]int64 // in bytes per second, by the share's name
}

// A frontend is what clients reach.
type frontend struct {
	name         string
	public       config.PublicAddress
	publicNear   []config.PublicOverride // for clients of a network, the narrowest first
	passivePorts portpool.Range
	portOffset   int
	bind         config.PassiveBind
	dataPeer     config.DataPeer
	sources      []portpool.Range // of connections to clients
	bandwidth    config.Bandwidth // of each session
	foreign      []netip.Prefix   // whose data connections clients may use

	proxyProtocol, dataProxyProtocol bool           // connections begin with a PROXY header
	trustedProxies                   []netip.Prefix // whose
	greetFirst                       bool           // the client gets the banner before the header is read

	tls     *ftps.Frontend // nil: none
	banner  string
	backend *backend

	closeWhenDown bool // it listens only while its backend has a server that is up
}

// A backend is a named group of servers, and how data goes to them.
type backend struct {
	dial.Backend
	data      config.DataMode
	dataPorts portpool.Range
	trusted   []netip.Prefix // whose addresses in a 227 are believed

	byUser        bool // the server depends on the user
	sendProxy     byte // the version of the PROXY header that servers are sent; 0: none
	sendProxyData bool // on data connections, too
}

// listens is where the runtime wants to listen now.
func (rt *Runtime) listens() listeners.Wanted {
	wanted := make(listeners.Wanted, len(rt.frontends))
	for addr, fe := range rt.frontends {
		if fe.down() {
			continue
		}
		wanted[addr] = listeners.Want{Frontend: fe.name, Free: rt.free[addr.Addr()]}
	}
	return wanted
}

// isOwn tells whether a connection to an address comes to a listener of the runtime.
func (rt *Runtime) isOwn(at netip.AddrPort) bool {
	if _, own := rt.frontends[at]; own {
		return true
	}
	all := netip.IPv6Unspecified()
	if at.Addr().Is4() {
		all = netip.IPv4Unspecified()
	}
	_, listens := rt.frontends[netip.AddrPortFrom(all, at.Port())]
	return listens && tcp.IsLocal(at.Addr())
}

// unverified has the backends that are reached by TLS, and whether their certificates are not
// verified.
func (rt *Runtime) unverified() map[string]bool {
	all := make(map[string]bool)
	for _, b := range rt.backends {
		if b.TLS != nil {
			all[b.Name] = !b.TLS.Verifies()
		}
	}
	return all
}

// newRuntime builds the rules from a checked configuration.
func newRuntime(c *config.Config) (*Runtime, error) {
	backends := make(map[string]*backend, len(c.Backends))
	var failed []error
	for _, b := range c.Backends {
		back, err := ftps.NewBackend(&b)
		failed = append(failed, err)
		backends[b.Name] = &backend{Backend: dial.Backend{Name: b.Name, Source: b.Source, TLS: back},
			data: cmp.Or(b.Data, config.DataClient), dataPorts: portRange(b.DataPorts), trusted: b.TrustDataAddress, byUser: b.Balance == config.BalanceUser,
			sendProxy: map[string]byte{"v1": 1, "v2": 2}[b.SendProxy], sendProxyData: b.SendProxyData}
	}
	rt := &Runtime{timeouts: c.Timeouts, limits: c.Limits, frontends: make(map[netip.AddrPort]*frontend), bandwidths: bandwidths(c), free: c.FreeAddrs(), backends: backends}
	for _, f := range c.Frontends {
		front, err := ftps.NewFrontend(&f)
		failed = append(failed, err)
		rt.certificates = append(rt.certificates, front.Certificates()...)
		fe := &frontend{
			name:         f.Name,
			public:       f.PublicAddress,
			publicNear:   f.PublicAddressFor,
			passivePorts: portRange(f.PassivePorts),
			portOffset:   f.AdvertisedPortOffset,
			bind:         f.PassiveBind,
			dataPeer:     f.DataPeer,
			sources:      portRanges(f.ActiveSourcePorts),
			bandwidth:    f.SessionBandwidth,
			foreign:      f.AllowForeignData,

			proxyProtocol:     f.ProxyProtocol,
			dataProxyProtocol: f.DataProxyProtocol,
			trustedProxies:    f.TrustedProxies,
			greetFirst:        f.ProxyHeaderAfterGreeting && f.TLS.Mode != config.TLSImplicit,

			tls:     front,
			banner:  f.Banner,
			backend: backends[f.Backend],

			closeWhenDown: f.CloseWhenDown,
		}
		rt.closes = rt.closes || f.CloseWhenDown
		if fe.backend == nil {
			return nil, fmt.Errorf("frontend %s: no backend %q", f.Name, f.Backend)
		}
		rt.addHosts(f.PublicAddress)
		for _, o := range f.PublicAddressFor {
			rt.addHosts(o.PublicAddress)
		}
		for _, addr := range f.Listen {
			if other, taken := rt.frontends[addr]; taken {
				return nil, fmt.Errorf("frontends %s and %s both listen on %s", other.name, f.Name, addr)
			}
			rt.frontends[addr] = fe
		}
	}
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	ftps.Sort(rt.certificates)
	return rt, nil
}

func portRange(r config.PortRange) portpool.Range {
	return portpool.Range{First: r.First, Last: r.Last}
}

func portRanges(of []config.PortRange) (ranges []portpool.Range) {
	for _, r := range of {
		ranges = append(ranges, portRange(r))
	}
	return ranges
}

func (rt *Runtime) addHosts(p config.PublicAddress) {
	for _, host := range p.Hosts {
		if !slices.Contains(rt.hosts, host) {
			rt.hosts = append(rt.hosts, host)
		}
	}
}
