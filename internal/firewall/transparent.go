package firewall

import (
	"errors"
	"fmt"
)

// Servers that see the addresses of clients answer these. On ftproxy's machine such
// answers are not for any address of its own: the packets that belong to one of
// ftproxy's sockets are marked, and a route for the mark takes them in.

// Mark and Table are the mark of such packets, and the routing table for them.
const (
	Mark  = "0x2121"
	Table = "2121"
)

// ErrNotTransparent: no backend needs routes.
var ErrNotTransparent = errors.New(`no backend has source = "client"`)

// asClients tells whether the flow is one of ftproxy at its clients' addresses.
func (f Flow) asClients() bool { return f.From.asClients || f.To.asClients }

// answered tells whether there are answers to clients' addresses of a family.
func answered(flows []Flow, v family) bool {
	for _, f := range flows {
		if f.asClients() && f.has(v) {
			return true
		}
	}
	return false
}

// shownClients are the servers that see clients' addresses, as they stand in the
// flows to them.
func shownClients(flows []Flow) (servers []Party) {
	for _, f := range flows {
		if f.From.asClients {
			servers = append(servers, f.To)
		}
	}
	return servers
}

// transparent tells what the rules of a place cannot.
func (s *Setup) transparent(place Place) (paragraphs []string) {
	for _, b := range s.Backends {
		if !b.AsClients {
			continue
		}
		if place == Host {
			paragraphs = append(paragraphs, fmt.Sprintf("Servers of %s see clients' own addresses. The answers are marked here; they reach ftproxy "+
				"once the routes for the mark are there, too: ftproxy firewall -routes prints them.", backend(b.Name)))
		} else {
			paragraphs = append(paragraphs, fmt.Sprintf("Servers of %s see clients' own addresses, so rules cannot name ftproxy's: let them hold only between "+
				"ftproxy's link and the servers' (iifname, oifname; -i, -o). This machine and the servers must route what is for clients to ftproxy's machine.", backend(b.Name)))
		}
	}
	return paragraphs
}

// Routes returns the commands, for sh, that make ftproxy's machine take in what
// the rules for it have marked.
func (s *Setup) Routes() (string, error) {
	var p page
	p.line("#!/bin/sh")
	p.comment("", "ftproxy firewall -routes")
	for _, text := range []string{
		"ftproxy's own machine: what servers answer to clients' addresses is taken in, if one of ftproxy's sockets has such an address. " +
			"The rules that -nftables or -iptables -for proxy prints mark these packets.",
		"Only packets with the mark meet this, and it may be run again. It is gone after a restart of the machine.",
		"net.ipv4.conf.*.rp_filter may be 0, 1 or 2. net.ipv4.conf.*.src_valid_mark must be 0, as it is by default (wg-quick sets it): " +
			"with 1 the kernel takes marked packets for forged.",
		"Servers must send what is for clients to this machine: by their default route, or one for the clients' networks.",
	} {
		p.line("#")
		p.comment("", text)
	}
	p.line("")
	any := false
	for _, v := range families {
		if !s.servesClients(v) {
			continue
		}
		any = true
		p.linef("ip -%d route replace local default dev lo table %s", v, Table)
		p.linef("ip -%d rule del fwmark %s lookup %s 2>/dev/null", v, Mark, Table)
		p.linef("ip -%d rule add fwmark %s lookup %s", v, Mark, Table)
	}
	if !any {
		return "", ErrNotTransparent
	}
	return p.String(), nil
}

// servesClients tells whether a server that sees clients' addresses may have an
// address of a family.
func (s *Setup) servesClients(v family) bool {
	for _, b := range s.Backends {
		if !b.AsClients {
			continue
		}
		for _, server := range b.Servers {
			if len(server.Addrs) == 0 {
				return true
			}
			for _, a := range server.Addrs {
				if v.of(a) {
					return true
				}
			}
		}
	}
	return false
}
