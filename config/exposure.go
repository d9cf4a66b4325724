package config

import (
	"fmt"
	"net/netip"
)

// What an administrator of a firewall would refuse to open.
const (
	widePorts = 10000 // more ports than this in a range
	// Networks of fewer bits than these: more than the largest private one.
	wideIPv4 = 8
	wideIPv6 = 7
)

// exposure warns of what needs a firewall that is hardly one.
func (c *Config) exposure(warn func(key, message, hint string)) {
	for _, f := range c.Frontends {
		key := "frontend." + f.Name
		if n := f.PassivePorts.Len(); n > widePorts {
			warn(key+".passive_ports", fmt.Sprintf("%q makes the firewall outside open %d ports; each serves any number of clients", f.PassivePorts, n),
				`a hundred will do: write for example "30000-30099"`)
		}
		for _, p := range f.TrustedProxies {
			if wide(p) {
				warn(key+".trusted_proxies", fmt.Sprintf("with %q nearly everybody can claim to be anybody", p),
					`write the addresses of the proxies, for example "10.0.0.2"`)
			}
		}
		for _, p := range f.AllowForeignData {
			if wide(p) {
				warn(key+".allow_foreign_data", fmt.Sprintf("with %q clients have ftproxy exchange data with nearly anyone", p),
					`write the networks that take part in such transfers, for example "192.0.2.0/24"`)
			}
		}
	}
	for _, b := range c.Backends {
		key := "backend." + b.Name
		if n := b.DataPorts.Len(); n > widePorts && !b.Data.passive() {
			warn(key+".data_ports", fmt.Sprintf("%q makes the firewall inside open %d ports; each is an active transfer per server", b.DataPorts, n),
				`a few hundred will do: write for example "31000-31099"`)
		}
		for _, p := range b.TrustDataAddress {
			if wide(p) {
				warn(key+".trust_data_address", fmt.Sprintf("with %q servers send ftproxy nearly anywhere, and nearly anyone may send data in their place", p),
					`write the networks of the servers' data addresses, for example "10.1.0.0/16"`)
			}
		}
	}
}

// passive tells whether servers are never told to connect to ftproxy.
func (m DataMode) passive() bool { return m == DataPassive || m == DataPASV || m == DataEPSV }

func wide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < wideIPv4
	}
	return p.Bits() < wideIPv6
}
