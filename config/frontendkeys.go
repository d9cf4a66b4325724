package config

import "net/netip"

// The default ports lie below Linux's ephemeral range and inside Kubernetes'
// NodePort range.
var frontendKeys = section[Frontend]{
	path: "frontend.NAME",
	help: `A frontend is what clients see: the addresses to connect to, and the ports of their data
		connections. Write one such table for each frontend, with a name of its own made of letters,
		digits, - and _.`,
	rules: frontendRules,
	rows: []row[Frontend]{{
		name:     "listen",
		value:    field(listenAddresses, nil, func(f *Frontend) *[]netip.AddrPort { return &f.Listen }),
		example:  `[":21"]`,
		required: `write listen = ":21"`,
		help: `The addresses to listen on: a list of "IP:PORT", "[IPv6]:PORT" or ":PORT". ":PORT" is every
			IPv4 and every IPv6 address of this machine.`,
	}, {
		name:  "proxy_protocol",
		value: field(boolean, false, func(f *Frontend) *bool { return &f.ProxyProtocol }),
		help: `Whether clients come through proxies, such as HAProxy, that send the PROXY protocol
			(version 1 or 2). Its header says who the client is and which address the client reached. With
			true, each control connection must begin with such a header and come from one of
			trusted_proxies.`,
	}, {
		name: "data_proxy_protocol",
		value: field(boolean, false, func(f *Frontend) *bool { return &f.DataProxyProtocol }).
			follows(func(f *Frontend) { f.DataProxyProtocol = f.ProxyProtocol }),
		help: `Whether data connections of clients in passive mode begin with a PROXY header, too. The
			proxies must forward each passive port to the same port of this machine. If this key is not written,
			it is as proxy_protocol.`,
	}, {
		name:  "trusted_proxies",
		value: field(networks, nil, func(f *Frontend) *[]netip.Prefix { return &f.TrustedProxies }),
		help: `The proxies: a list of addresses and networks. With proxy_protocol or data_proxy_protocol
			it must not be empty. Any machine in it can claim to be any client. Where ftproxy expects a
			PROXY header, it resets connections from other addresses.`,
	}, {
		name:  "proxy_header_after_greeting",
		value: field(boolean, false, func(f *Frontend) *bool { return &f.ProxyHeaderAfterGreeting }),
		help: `Whether ftproxy greets before it has the PROXY header of a control connection. It is for load
			balancers that send the header with the client's first bytes, such as AWS Network Load Balancers:
			FTP clients wait for the greeting. The header may then come until timeouts.login. The key needs
			proxy_protocol, and banner as the greeting, because no server is asked before the client is
			known. Implicit TLS does not need it: there the client speaks first.`,
	}, {
		name: "public_address",
		value: value[Frontend]{
			kind:   `"auto", or a list of addresses and host names`,
			preset: func(f *Frontend) { f.PublicAddress = PublicAddress{Auto: true} },
			read:   func(c cell, f *Frontend) { f.PublicAddress = c.publicAddress(f.Listen, netip.Prefix{}) },
			print:  func(f *Frontend) string { return f.PublicAddress.quote() },
		},
		help: `What clients are told to connect to in passive mode. "auto" is the address that they
			reached. For clients that come through address translation (NAT), write a list of at most one
			IPv4 and one IPv6 address, or of host names that have them. The IPv6 address may be missing.
			ftproxy looks up names twice a minute and keeps the last good answer.`,
	}, {
		name: "public_address_for",
		value: value[Frontend]{
			kind:   "a table of networks, each with a value as for public_address",
			preset: func(f *Frontend) { f.PublicAddressFor = nil },
			read:   cell.overrides,
			print:  func(f *Frontend) string { return quoteOverrides(f.PublicAddressFor) },
		},
		help: `What the clients of some networks are told instead of public_address, for example those
			inside, which need no translation: { "10.0.0.0/8" = "auto", "192.0.2.0/24" = ["192.0.2.9"] }.
			If a client is in several of the networks, the narrowest counts.`,
	}, {
		name:  "advertised_port_offset",
		value: field(whole(-maxPort), 0, func(f *Frontend) *int { return &f.AdvertisedPortOffset }),
		help: `Added to every port number that clients are told. Use it if a device in front of ftproxy
			(port forwarding, a Kubernetes NodePort) shifts all ports by this number.`,
	}, {
		name:  "passive_ports",
		value: field(portRange, PortRange{30000, 30099}, func(f *Frontend) *PortRange { return &f.PassivePorts }),
		help: `The ports that clients connect to in passive mode: "FIRST-LAST", or "PORT" for one alone.
			Each serves one pending data connection of every client address at a time. Allow them from the
			clients to this machine in the outside firewall. Frontends may have the same range; otherwise
			no two ranges may overlap. Ports below 1024 need the capability CAP_NET_BIND_SERVICE. Choose
			ports outside net.ipv4.ip_local_port_range, or list them in
			net.ipv4.ip_local_reserved_ports.`,
	}, {
		name:  "passive_bind",
		value: field(bindAddresses, PassiveBind{}, func(f *Frontend) *PassiveBind { return &f.PassiveBind }),
		help: `The addresses on which ftproxy listens for passive data connections: a list of at most one
			IPv4 and one IPv6 address, "0.0.0.0" and "::" included. "" is the address that the client
			reached, or with proxy_protocol every address.`,
	}, {
		name:  "freebind",
		value: field(boolean, false, func(f *Frontend) *bool { return &f.FreeBind }),
		help: `Whether the addresses in listen and passive_bind may be missing on this machine when ftproxy
			starts, because they come later, for example from keepalived. With false, a missing address is
			an error at the start. It needs Linux (IP_FREEBIND).`,
	}, {
		name:  "data_peer",
		value: field(peerLengths, DataPeer{}, func(f *Frontend) *DataPeer { return &f.DataPeer }),
		help: `Addresses that may open a client's data connection. "exact" is the client's own address. A
			list of prefix lengths, such as ["/24", "/64"] for IPv4 and IPv6, is for clients whose data
			comes from a neighbouring address. The clients of one prefix then share the passive ports as
			if they had one address.`,
	}, {
		name:  "active_source_ports",
		value: field(sourcePorts, nil, func(f *Frontend) *[]PortRange { return &f.ActiveSourcePorts }),
		help: `The source ports of connections to clients in active mode: a list of ports and ranges,
			tried in this order, such as ["20", "40000-40099"]. [] is any port. Each serves one connection
			to the same address and port of a client at a time. Ports below 1024 need the capability
			CAP_NET_BIND_SERVICE.`,
	}, {
		name:  "allow_foreign_data",
		value: field(networks, nil, func(f *Frontend) *[]netip.Prefix { return &f.AllowForeignData }),
		help: `Networks of other machines that a client may have ftproxy transfer to and from (FXP: the
			other end is a server). Clients can then send data to every machine in them, and every such
			machine can take a client's place at a data port. All clients of the frontend then share each
			passive port, and a port that a client did not use is free after 32s: have many.`,
	}, {
		name:  "bandwidth",
		value: field(bandwidth, 0, func(f *Frontend) *Bandwidth { return &f.Bandwidth }),
		help: `The most that all transfers of these clients together move per second in each direction, in
			bytes or bits: "10MB/s", "500kB/s", "80Mbit/s". "" is no limit. It is divided fairly: what one
			transfer does not use goes to the others.`,
	}, {
		name:  "session_bandwidth",
		value: field(bandwidth, 0, func(f *Frontend) *Bandwidth { return &f.SessionBandwidth }),
		help:  `The most that each session moves per second in each direction, written as bandwidth.`,
	}, {
		name:    "backend",
		value:   field(backendName, "", func(f *Frontend) *string { return &f.Backend }),
		example: `"legacy"`,
		help:    `The name of the backend that serves these clients.`,
	}, {
		name:  "banner",
		value: field(bannerText, "", func(f *Frontend) *string { return &f.Banner }),
		help: `The text of the greeting, without its code: one line of at most 500 bytes. "" is the
			server's own greeting.`,
	}, {
		name:  "close_when_down",
		value: field(boolean, false, func(f *Frontend) *bool { return &f.CloseWhenDown }),
		help: `Whether ftproxy closes the listening sockets of this frontend while its backend has no server that
			works, so that a load balancer in front notices. With false, clients then get 421. The backend needs checks.`,
	}},
}
