package firewall

import (
	"net/netip"
	"slices"
	"strconv"

	"ftproxy/config"
)

// Flows are the connections that the configuration permits: those of the
// outside, frontend by frontend, then those of the inside.
func (s *Setup) Flows() []Flow {
	var flows []Flow
	for _, f := range s.Frontends {
		flows = append(flows, s.outside(f)...)
	}
	for _, b := range s.Backends {
		flows = append(flows, s.inside(b)...)
	}
	if s.DNS {
		flows = append(flows, Flow{
			Place: Host, Kind: Lookup, From: Party{Who: Ftproxy, Any4: true, Any6: true}, To: Party{Who: Names, Any4: true, Any6: true},
			Ports: []config.PortRange{{First: 53, Last: 53}}, Needs: "host names", protocols: []string{"udp", "tcp"},
		})
	}
	return flows
}

var onlyTCP = []string{"tcp"}

// outside are the flows of a frontend.
func (s *Setup) outside(f Frontend) []Flow {
	set := "frontend_" + f.Name
	var flows []Flow
	var all []netip.Addr // that clients know ftproxy by
	byPort := make(map[uint16][]netip.Addr)
	for _, a := range f.Control {
		byPort[a.Port()] = append(byPort[a.Port()], a.Addr())
		all = append(all, a.Addr())
	}
	clients := func(of Party) Party {
		return Party{Who: Clients, Any4: of.has(4), Any6: of.has(6)}
	}
	comers := func(to Party, proxied bool) Party {
		if proxied {
			return f.proxies(set + "_proxies")
		}
		return clients(to)
	}
	for _, port := range sortedKeys(byPort) {
		to := s.own(byPort[port], nameFor(set, port, len(byPort)))
		flows = append(flows, Flow{
			Place: Outside, Kind: Control, From: comers(to, f.ControlProxied), To: to,
			Ports: []config.PortRange{{First: port, Last: port}}, Needs: frontend(f.Name), protocols: onlyTCP,
		})
	}
	to := s.own(f.Passive, set+"_passive")
	from := s.own(all, set)
	if slices.Equal(to.Addrs, from.Addrs) {
		to.set = set
	}
	flows = append(flows, Flow{
		Place: Outside, Kind: Passive, From: comers(to, f.DataProxied), To: to,
		Ports: []config.PortRange{f.PassivePorts}, Needs: frontend(f.Name), portsName: set + "_passive_ports", protocols: onlyTCP,
	})
	if s.NoActiveClients {
		return flows
	}
	flow := Flow{
		Place: Outside, Kind: Active, From: from, To: clients(from),
		Sources: config.MergePorts(f.ActiveSources), Ports: []config.PortRange{anyUnprivileged}, Needs: frontend(f.Name), protocols: onlyTCP,
	}
	if len(flow.Sources) > 0 {
		flow.sourceName = set + "_active_source_ports"
	}
	return append(flows, flow)
}

// proxies are those of the frontend. A network that is everyone matches anyone.
func (f Frontend) proxies(set string) Party {
	p := Party{Who: Proxies, set: set, Addrs: sortPrefixes(slices.Clone(f.Proxies))}
	for _, a := range p.Addrs {
		p.Any4 = p.Any4 || a.Bits() == 0 && a.Addr().Is4()
		p.Any6 = p.Any6 || a.Bits() == 0 && a.Addr().Is6()
	}
	return p
}

// own is ftproxy at addresses that it listens on.
func (s *Setup) own(addrs []netip.Addr, set string) Party {
	p := Party{Who: Ftproxy, set: set, listens: true}
	for _, a := range addrs {
		if !a.IsUnspecified() {
			p.Addrs = append(p.Addrs, hostPrefix(a))
			continue
		}
		if len(s.Outside) == 0 {
			p.Any4, p.Any6 = p.Any4 || a.Is4(), p.Any6 || a.Is6()
			continue
		}
		for _, known := range s.Outside {
			if known.Is4() == a.Is4() {
				p.Addrs = append(p.Addrs, hostPrefix(known))
			}
		}
	}
	p.Addrs = sortPrefixes(p.Addrs)
	return p
}

// inside are the flows of a backend.
func (s *Setup) inside(b Backend) []Flow {
	set := "backend_" + b.Name
	var flows []Flow
	data := Party{Who: Servers, set: set + "_data"}
	byPort := make(map[uint16]Party)
	for _, server := range b.Servers {
		at := byPort[server.Port]
		at.Who = Servers
		for _, a := range server.Addrs {
			at.Addrs = append(at.Addrs, hostPrefix(a))
			if a.Is4() || !b.OnlyIPv4 {
				data.Addrs = append(data.Addrs, hostPrefix(a))
			}
		}
		if len(server.Addrs) == 0 {
			at.Unknown = append(at.Unknown, server.Host)
			data.Unknown = append(data.Unknown, server.Host)
		}
		byPort[server.Port] = at
	}
	for _, p := range b.DataPeers {
		if p.Addr().Is4() || !b.OnlyIPv4 {
			data.Addrs = append(data.Addrs, p.Masked())
		}
	}
	data.Addrs = sortPrefixes(data.Addrs)
	if len(byPort) == 1 && len(b.DataPeers) == 0 && !b.OnlyIPv4 {
		data.set = set
	}
	for _, port := range sortedKeys(byPort) {
		to := byPort[port]
		to.Addrs = sortPrefixes(to.Addrs)
		to.set = nameFor(set, port, len(byPort))
		flows = append(flows, Flow{
			Place: Inside, Kind: Control, From: s.self(b), To: to,
			Ports: []config.PortRange{{First: port, Last: port}}, Needs: backend(b.Name), protocols: onlyTCP,
		})
	}
	flows = append(flows, s.checks(b, flows)...)
	if b.Passive {
		flow := Flow{
			Place: Inside, Kind: Passive, From: s.self(b), To: data,
			Ports: []config.PortRange{anyUnprivileged}, Needs: backend(b.Name), protocols: onlyTCP,
		}
		if len(s.ServerPorts) > 0 {
			flow.Ports, flow.portsName = config.MergePorts(s.ServerPorts), "server_ports"
		}
		flows = append(flows, flow)
	}
	if b.Active {
		flows = append(flows, Flow{
			Place: Inside, Kind: Active, From: data, To: s.self(b),
			Ports: []config.PortRange{b.DataPorts}, Needs: backend(b.Name), portsName: set + "_data_ports", protocols: onlyTCP,
		})
	}
	return flows
}

// checks are the flows by which ftproxy finds out which servers work. control are those
// of the control connections, which checks have, too, unless they are at clients' addresses.
func (s *Setup) checks(b Backend, control []Flow) (flows []Flow) {
	own := b
	own.AsClients = false
	if b.Checked && b.AsClients {
		for _, f := range control {
			f.Kind, f.From = Check, s.self(own)
			flows = append(flows, f)
		}
	}
	if b.AgentPort == 0 || len(control) == 0 {
		return flows
	}
	to := control[0].To
	if len(control) > 1 {
		to = Party{Who: Servers, set: "backend_" + b.Name + "_agent"}
		for _, f := range control {
			to.Addrs, to.Unknown = append(to.Addrs, f.To.Addrs...), append(to.Unknown, f.To.Unknown...)
		}
		to.Addrs = sortPrefixes(to.Addrs)
	}
	return append(flows, Flow{
		Place: Inside, Kind: Agent, From: s.self(own), To: to,
		Ports: []config.PortRange{{First: b.AgentPort, Last: b.AgentPort}}, Needs: backend(b.Name), protocols: onlyTCP,
	})
}

// self is ftproxy towards the servers of a backend.
func (s *Setup) self(b Backend) Party {
	p := Party{Who: Ftproxy, set: "ftproxy_inside"}
	own := s.Inside
	switch {
	case b.AsClients:
		own, p.asClients = nil, true
	case len(b.Sources) > 0:
		own, p.set = b.Sources, "backend_"+b.Name+"_source"
	}
	for _, a := range own {
		p.Addrs = append(p.Addrs, hostPrefix(a))
	}
	p.Any4, p.Any6 = len(p.Addrs) == 0, len(p.Addrs) == 0
	p.Addrs = sortPrefixes(p.Addrs)
	return p
}

// nameFor is the name of a set of addresses of which there is one for each port.
func nameFor(set string, port uint16, of int) string {
	if of == 1 {
		return set
	}
	return set + "_port_" + strconv.Itoa(int(port))
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// sortPrefixes sorts, IPv4 first, and leaves out those that another contains:
// sets of intervals hold none twice.
func sortPrefixes(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var kept []netip.Prefix
	for _, p := range list {
		if n := len(kept); n == 0 || !kept[n-1].Contains(p.Addr()) {
			kept = append(kept, p)
		}
	}
	return kept
}

func sortedKeys[V any](m map[uint16]V) []uint16 {
	keys := make([]uint16, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
