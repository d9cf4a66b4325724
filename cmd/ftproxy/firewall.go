package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"ftproxy/config"
	"ftproxy/internal/firewall"
)

var firewallCommand = command{
	name:    "firewall",
	summary: "tell what firewalls must let through, or print their rules",
	usage:   "[-config FILE] [-nftables | -iptables | -ip6tables] [-for PLACE] [flags]",
	help: `Firewall tells from the configuration which connections must pass: through the
firewall outside, between clients and ftproxy; into and out of ftproxy's own
machine; and through the firewall inside, between ftproxy and the servers. It
prints a table, or with -nftables, -iptables or -ip6tables the rules themselves,
for one place at a time: -for outside, -for proxy or -for inside. Rules drop
what they do not name, and need no FTP helper.

Where clients come through proxies (proxy_protocol), connections are let in from
these (trusted_proxies) rather than from anyone.

Rules hold addresses. Those that the configuration does not have are asked for:
-outside where a frontend listens on every address, -inside for the firewall
inside where a backend has no source, -resolve where servers are host names.

Servers with source = "client" answer the addresses of clients. The rules for
ftproxy's own machine mark these packets, and -routes prints what takes them in.

Example:

  ftproxy firewall -config /etc/ftproxy/config.toml
  ftproxy firewall -nftables -for proxy > proxy.nft
  ftproxy firewall -nftables -for inside -inside 10.0.0.1 > inside.nft
  ftproxy firewall -routes | sh
`,
	run: (*program).firewall,
}

// A firewallRequest is what the command line asks for.
type firewallRequest struct {
	config                        string
	nftables, iptables, ip6tables bool
	place                         firewall.Place
	outside, inside               []netip.Addr
	resolve, routes               bool
	noActiveClients               bool
	serverPorts                   []config.PortRange
}

func (p *program) firewall(ctx context.Context, c *command, args []string) int {
	var r firewallRequest
	f := c.flags()
	f.StringVar(&r.config, "config", defaultConfig, "read the configuration from `FILE`")
	f.BoolVar(&r.nftables, "nftables", false, "print rules for nft -f")
	f.BoolVar(&r.iptables, "iptables", false, "print IPv4 rules for iptables-restore")
	f.BoolVar(&r.ip6tables, "ip6tables", false, "print IPv6 rules for ip6tables-restore")
	f.BoolVar(&r.routes, "routes", false, "print the routes that source = \"client\" needs on ftproxy's machine,\nas commands for sh")
	f.Func("for", "only for one `PLACE`: outside, proxy or inside", r.setPlace)
	f.Func("outside", "where a frontend listens on every address: the `ADDRESSES` of ftproxy\nthat clients' packets carry, with commas", addressesTo(&r.outside))
	f.Func("inside", "the `ADDRESSES` from which ftproxy connects to servers, with commas", addressesTo(&r.inside))
	f.BoolVar(&r.resolve, "resolve", false, "look up the host names of servers now")
	f.BoolVar(&r.noActiveClients, "no-active-clients", false, "leave out the connections from ftproxy to clients; those in active\nmode then get 425")
	f.Func("server-ports", "the passive `PORTS` that the servers are confined to, for example\n40000-40099; any above 1023 if not given", r.setServerPorts)
	if code, ok := p.parse(c, f, args); !ok {
		return code
	}
	if err := r.check(); err != nil {
		return p.misused("%s: %v", c.name, err)
	}
	conf, ok := p.load(r.config)
	if !ok {
		return exitFailed
	}
	s := setup(conf)
	s.Outside, s.Inside, s.NoActiveClients, s.ServerPorts = r.outside, r.inside, r.noActiveClients, r.serverPorts
	if len(r.outside) > 0 && !listensEverywhere(s) {
		return p.misused("%s: leave out -outside: every frontend of %s names the addresses that it listens on", c.name, r.config)
	}
	if r.resolve {
		if err := p.resolve(ctx, s); err != nil {
			return p.failed(err)
		}
	}
	text, err := r.text(s)
	if err != nil {
		return p.failed(fmt.Errorf("%s: %w; %s", r.config, err, unknownHint(err)))
	}
	if _, err := p.stdout.Write([]byte(text)); err != nil {
		return p.failed(err)
	}
	return exitOK
}

func (r *firewallRequest) setPlace(text string) error {
	place := firewall.Place(text)
	if !slices.Contains(firewall.Places, place) {
		return errors.New("write outside, proxy or inside")
	}
	r.place = place
	return nil
}

func (r *firewallRequest) setServerPorts(text string) error {
	r.serverPorts = nil
	for part := range strings.SplitSeq(text, ",") {
		ports, err := config.ParsePortRange(part)
		if err != nil {
			return errors.New("write FIRST-LAST, for example 40000-40099")
		}
		r.serverPorts = append(r.serverPorts, ports)
	}
	return nil
}

// addressesTo reads a list of addresses.
func addressesTo(to *[]netip.Addr) func(string) error {
	return func(text string) error {
		*to = nil
		for part := range strings.SplitSeq(text, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(part))
			if err != nil || a.IsUnspecified() || a.Zone() != "" {
				return errors.New("write IP addresses, for example 203.0.113.9,2001:db8::9")
			}
			*to = append(*to, a.Unmap())
		}
		return nil
	}
}

// rules tells whether they are asked for, in any language.
func (r *firewallRequest) rules() bool { return r.nftables || r.iptables || r.ip6tables }

// check reports flags that do not go together.
func (r *firewallRequest) check() error {
	languages := 0
	for _, one := range []bool{r.nftables, r.iptables, r.ip6tables} {
		if one {
			languages++
		}
	}
	switch {
	case languages > 1:
		return errors.New("choose one of -nftables, -iptables and -ip6tables; iptables takes two runs, one for each family")
	case r.routes && (languages > 0 || r.place != "" && r.place != firewall.Host):
		return errors.New("-routes stands alone: it is for ftproxy's own machine, beside the rules of -for proxy")
	case languages == 1 && r.place == "":
		return errors.New("rules are for one machine at a time: add -for outside, -for proxy or -for inside")
	}
	return nil
}

func (r *firewallRequest) text(s *firewall.Setup) (string, error) {
	switch {
	case r.routes:
		return s.Routes()
	case r.nftables:
		return s.NFTables(r.place)
	case r.rules():
		return s.IPTables(r.place, r.ip6tables)
	}
	return s.Table(r.place), nil
}

// unknownHint says what to write where rules lack something.
func unknownHint(err error) string {
	switch {
	case errors.Is(err, firewall.ErrOutside):
		return "add -outside and the addresses that clients' packets carry when they reach the firewall, for example -outside 203.0.113.9"
	case errors.Is(err, firewall.ErrInside):
		return "add -inside and the addresses from which ftproxy connects to these servers, for example -inside 10.0.0.1"
	case errors.Is(err, firewall.ErrNotTransparent):
		return "no routes are needed"
	case errors.Is(err, firewall.ErrName):
		return "add -resolve to look it up now, or write its address in the configuration"
	}
	return "write the port, for example 21, in the configuration"
}

// setup is what a configuration permits.
func setup(c *config.Config) *firewall.Setup {
	s := &firewall.Setup{}
	for _, f := range c.Frontends {
		one := firewall.Frontend{
			Name: f.Name, Control: f.Listen, Passive: f.DataAddrs(),
			PassivePorts: f.PassivePorts, PortOffset: f.AdvertisedPortOffset,
			ActiveSources: f.ActiveSourcePorts,
			Proxies:       f.TrustedProxies, ControlProxied: f.ProxyProtocol, DataProxied: f.DataProxyProtocol,
		}
		s.Frontends = append(s.Frontends, one)
		s.DNS = s.DNS || len(f.PublicAddress.Hosts) > 0
		for _, o := range f.PublicAddressFor {
			s.DNS = s.DNS || len(o.Hosts) > 0
		}
	}
	for _, b := range c.Backends {
		one := firewall.Backend{
			Name: b.Name, DataPorts: b.DataPorts, DataPeers: b.TrustDataAddress, OnlyIPv4: b.Data.OnlyIPv4(),
			AsClients: b.Source.Client, Checked: b.Check.Kind.On(), AgentPort: uint16(b.Check.AgentPort),
		}
		for _, a := range []netip.Addr{b.Source.IPv4, b.Source.IPv6} {
			if a.IsValid() {
				one.Sources = append(one.Sources, a)
			}
		}
		switch b.Data {
		case config.DataClient:
			one.Passive, one.Active = true, true
		case config.DataPassive, config.DataPASV, config.DataEPSV:
			one.Passive = true
		default:
			one.Active = true
		}
		for _, server := range b.Servers {
			known := firewall.Server{Host: server.Host, Port: server.Port}
			if server.SRV {
				known.Host = server.String()
			}
			if ip, err := netip.ParseAddr(server.Host); err == nil {
				known.Addrs = []netip.Addr{ip}
			} else {
				s.DNS = true
			}
			one.Servers = append(one.Servers, known)
		}
		s.Backends = append(s.Backends, one)
	}
	return s
}

func listensEverywhere(s *firewall.Setup) bool {
	return slices.ContainsFunc(s.Frontends, func(f firewall.Frontend) bool {
		return slices.ContainsFunc(f.Passive, netip.Addr.IsUnspecified) ||
			slices.ContainsFunc(f.Control, func(a netip.AddrPort) bool { return a.Addr().IsUnspecified() })
	})
}

// resolve looks up the servers' host names and SRV records.
func (p *program) resolve(ctx context.Context, s *firewall.Setup) error {
	lookup, lookupSRV := p.lookup, p.lookupSRV
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	if lookupSRV == nil {
		lookupSRV = net.DefaultResolver.LookupSRV
	}
	for b := range s.Backends {
		backend := &s.Backends[b]
		var servers []firewall.Server
		for _, server := range backend.Servers {
			name, found := strings.CutPrefix(server.Host, "srv:")
			if !found || server.Port != 0 {
				servers = append(servers, server)
				continue
			}
			_, records, err := lookupSRV(ctx, "", "", name)
			if err == nil && len(records) == 0 {
				err = errors.New("there are no SRV records")
			}
			if err != nil {
				return fmt.Errorf("backend %s: server %s: %w", backend.Name, server.Host, err)
			}
			for _, r := range records {
				servers = append(servers, firewall.Server{Host: strings.TrimSuffix(r.Target, "."), Port: r.Port})
			}
		}
		backend.Servers = servers
		for i, server := range servers {
			if len(server.Addrs) > 0 {
				continue
			}
			found, err := lookup(ctx, "ip", server.Host)
			if err != nil {
				return fmt.Errorf("backend %s: server %s: %w", backend.Name, server.Host, err)
			}
			for _, a := range found {
				servers[i].Addrs = append(servers[i].Addrs, a.Unmap())
			}
			slices.SortFunc(servers[i].Addrs, netip.Addr.Compare)
			servers[i].Addrs = slices.Compact(servers[i].Addrs)
			servers[i].Resolved = true
		}
	}
	return nil
}
