// Package firewall tells what the firewalls around ftproxy must let through,
// as a table for people and as complete rules for nftables and iptables.
//
// It is pure: plain values in, text out, and the same text for the same values.
// It knows three places. The outside firewall stands between the clients and
// ftproxy, the inside firewall between ftproxy and the servers, and the third
// is ftproxy's own machine. On each side there are four flows, of which a
// configuration needs some or all: control connections, data of passive mode,
// data of active mode, and the answers of all three, which are none of a rule's
// business because connections have states.
//
// No rule needs a connection tracking helper for FTP: every port is in the
// configuration.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"ftproxy/config"
)

// A Setup is as much of a configuration as concerns firewalls.
type Setup struct {
	Frontends []Frontend
	Backends  []Backend

	// Outside are ftproxy's addresses as the outside firewall sees them. They
	// stand for those that a frontend does not name, because it listens on
	// every address.
	Outside []netip.Addr
	// Inside are the addresses from which ftproxy connects to servers.
	Inside []netip.Addr
	// NoActiveClients leaves out the data connections to clients.
	NoActiveClients bool
	// ServerPorts are the ports that the servers use in passive mode. None
	// means any above 1023.
	ServerPorts []config.PortRange
	// DNS tells that ftproxy looks up names.
	DNS bool
}

// A Frontend is what clients reach.
type Frontend struct {
	Name          string
	Control       []netip.AddrPort // an unspecified address is every address of its family
	Passive       []netip.Addr     // where passive data arrives; unspecified likewise
	PassivePorts  config.PortRange
	PortOffset    int                // clients are told this much more than the port of PassivePorts
	ActiveSources []config.PortRange // the source ports of active data; none is any

	// Proxies are where control connections come from if ControlProxied is true,
	// and those of passive data if DataProxied is; else they come from anyone.
	Proxies                     []netip.Prefix
	ControlProxied, DataProxied bool
}

// A Backend is a group of servers.
type Backend struct {
	Name      string
	Servers   []Server
	Passive   bool // ftproxy connects to the servers
	Active    bool // the servers connect to ftproxy
	OnlyIPv4  bool // whose verb can name IPv4 addresses only
	DataPorts config.PortRange
	DataPeers []netip.Prefix // where data may come from and go to beside the servers
	Sources   []netip.Addr   // of connections to these servers; none is Setup.Inside
	AsClients bool           // they see clients' own addresses; then there are no Sources
	Checked   bool           // ftproxy checks them, from an address of its own
	AgentPort uint16         // of the agent that ftproxy asks on each server; 0 is none
}

// A Server is one server's control address.
type Server struct {
	Host     string       // an address or a host name, or "srv:" and the name of SRV records
	Addrs    []netip.Addr // none if they are not known
	Port     uint16       // 0 if only SRV records know it
	Resolved bool         // Host is a name; Addrs are what it stood for a moment ago
}

// anyUnprivileged are the ports of peers that choose them freely.
var anyUnprivileged = config.PortRange{First: 1024, Last: 65535}

// A Place is where rules are loaded.
type Place string

// The three places.
const (
	Outside Place = "outside" // the firewall between clients and ftproxy
	Host    Place = "proxy"   // ftproxy's own machine
	Inside  Place = "inside"  // the firewall between ftproxy and servers
)

// Places are all of them, from the clients to the servers.
var Places = []Place{Outside, Host, Inside}

// What rules cannot be written without. The table of people can.
var (
	ErrOutside = errors.New("its address towards the clients is not known")
	ErrInside  = errors.New("its address towards the servers is not known")
	ErrName    = errors.New("its addresses are not known")
	ErrPort    = errors.New("it listens on a port that differs at every start")
)

// A Kind is what a connection is for.
type Kind int

// The kinds of connections, on either side.
const (
	Control Kind = iota
	Passive      // data, towards the one who was told PASV or EPSV
	Active       // data, towards the one who said PORT or EPRT
	Lookup       // DNS
	Check        // whether a server works
	Agent        // what a server says of itself
)

// A Flow is connections from one party to the other that a configuration
// needs. Their answers belong to them.
type Flow struct {
	Place    Place // Outside or Inside; Host for those that pass no firewall of ours
	Kind     Kind
	From, To Party
	Sources  []config.PortRange // none is any
	Ports    []config.PortRange
	Needs    string // "frontend public"

	portsName  string // of the set for Ports; "" writes them into the rule
	sourceName string
	protocols  []string
}

// Who is one of the three that speak FTP, one before them, or a name server.
type Who string

// The parties of a flow.
const (
	Clients Who = "clients"
	Proxies Who = "proxies" // through which clients come
	Ftproxy Who = "ftproxy"
	Servers Who = "servers"
	Names   Who = "name servers"
)

// A Party is one end of a flow.
type Party struct {
	Who     Who
	Addrs   []netip.Prefix // sorted
	Any4    bool           // every IPv4 address; of ftproxy, all that it has
	Any6    bool
	Unknown []string // names whose addresses are not known

	set       string // the name of the set that holds Addrs
	listens   bool   // there: all its addresses are meant, and not just any
	asClients bool   // ftproxy at the addresses of its clients, so Any
}

// family is 4 or 6.
type family int

var families = []family{4, 6}

func (f family) of(a netip.Addr) bool { return a.Is4() == (f == 4) }

// any tells whether the party is everyone of a family.
func (p Party) any(f family) bool { return f == 4 && p.Any4 || f == 6 && p.Any6 }

// addrs are the party's addresses of a family.
func (p Party) addrs(f family) (list []netip.Prefix) {
	for _, a := range p.Addrs {
		if f.of(a.Addr()) {
			list = append(list, a)
		}
	}
	return list
}

// has tells whether the party has a family at all.
func (p Party) has(f family) bool { return p.any(f) || len(p.addrs(f)) > 0 }

// has tells whether there are connections of a family in the flow.
func (f Flow) has(v family) bool { return f.From.has(v) && f.To.has(v) }

// out tells whether ftproxy makes the connections.
func (f Flow) out() bool { return f.From.Who == Ftproxy }

// ftproxyOf is ftproxy at all the addresses that flows know it by.
func ftproxyOf(flows []Flow) Party {
	own := Party{Who: Ftproxy}
	for _, f := range flows {
		for _, p := range []Party{f.From, f.To} {
			if p.Who == Ftproxy {
				own.Addrs = append(own.Addrs, p.Addrs...)
				own.set = "ftproxy_" + string(f.Place)
			}
		}
	}
	own.Addrs = sortPrefixes(own.Addrs)
	return own
}

// at returns the flows of a place, or what is not known of them.
func (s *Setup) at(place Place) ([]Flow, error) {
	var flows []Flow
	for _, f := range s.Flows() {
		if place != Host && f.Place != place {
			continue
		}
		if err := f.known(place); err != nil {
			return nil, err
		}
		if f.has(4) || f.has(6) {
			flows = append(flows, f)
		}
	}
	for _, f := range s.Frontends {
		if place != Inside && !hasNeed(flows, frontend(f.Name)) {
			return nil, fmt.Errorf("%s: %w", frontend(f.Name), ErrOutside)
		}
	}
	for _, b := range s.Backends {
		if place != Outside && !hasNeed(flows, backend(b.Name)) {
			return nil, fmt.Errorf("%s: %w", backend(b.Name), ErrInside)
		}
	}
	return flows, nil
}

// hasNeed tells whether one of the flows is for whom.
func hasNeed(flows []Flow, whom string) bool {
	for _, f := range flows {
		if f.Needs == whom {
			return true
		}
	}
	return false
}

// known returns what must be known before there can be a rule.
func (f Flow) known(place Place) error {
	for _, p := range []Party{f.From, f.To} {
		if len(p.Unknown) > 0 {
			return fmt.Errorf("%s: server %s: %w", f.Needs, strings.Join(p.Unknown, ", "), ErrName)
		}
		if p.Who != Ftproxy || p.asClients || place == Host || !p.Any4 && !p.Any6 {
			continue
		}
		if f.Place == Outside {
			return fmt.Errorf("%s: ftproxy listens on every address: %w", f.Needs, ErrOutside)
		}
		return fmt.Errorf("%s: ftproxy connects from whichever address its machine chooses: %w", f.Needs, ErrInside)
	}
	for _, p := range f.Ports {
		if p.First == 0 {
			return fmt.Errorf("%s: %w", f.Needs, ErrPort)
		}
	}
	return nil
}

func frontend(name string) string { return "frontend " + name }
func backend(name string) string  { return "backend " + name }
