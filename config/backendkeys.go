package config

import (
	"net/netip"
	"time"
)

var backendKeys = section[Backend]{
	path: "backend.NAME",
	help: `A backend is the FTP server, or the group of servers, that a frontend stands in front of. Write one such table for
		each backend, with a name of its own.`,
	rules: backendRules,
	rows: []row[Backend]{{
		name:    "servers",
		value:   field(servers, nil, func(b *Backend) *[]Server { return &b.Servers }),
		example: `["10.0.0.5:21"]`,
		help: `The server, or several that hold the same files: a list of "HOST" (port 21), "HOST:PORT", "IPv6" or
			"[IPv6]:PORT". A host is an IPv4 address or a name. All addresses of a name are used, and ftproxy
			looks them up twice a minute. "srv:_ftp._tcp.example.net" is the servers in the SRV records of that name.
			For servers with settings of their own write [backend.NAME.server.LABEL] instead.`,
	}, {
		name: "balance",
		value: sparse(words(BalanceFirst, BalanceRoundRobin, BalanceLeastConn, BalanceRandom, BalanceSource, BalanceUser), BalanceFirst,
			func(b *Backend) *Balance { return &b.Balance }),
		help: `How a server is chosen for a client. "first": the first in the order of the file that works.
			"roundrobin": each in turn. "leastconn": the one with the fewest sessions. "random": two at random,
			and the one of them with fewer sessions. "source": always the same one for an address of a client.
			"user": always the same one for a user. ftproxy then greets clients itself and connects at USER;
			with checks of kind "ftp" or "login" it knows which features it may offer before that.
			A server that does not answer is passed over.`,
	}, {
		name:  "queue",
		value: field(whole(0), 100, func(b *Backend) *int { return &b.Queue }),
		help: `How many clients may wait if every server has max_sessions. They wait for the time connect at most, and
			then get 421. 0 is none.`,
	}, {
		name:  "slow_start",
		value: field(durationOrZero, 0, func(b *Backend) *time.Duration { return &b.SlowStart }),
		help: `The time in which a server that works again grows to its full share of new clients. "0s" gives it its
			full share at once.`,
	}, {
		name: "data",
		value: sparse(words(DataClient, DataPassive, DataPASV, DataEPSV, DataActive, DataPORT, DataEPRT), DataClient,
			func(b *Backend) *DataMode { return &b.Data }),
		help: `How data connections to the servers are made, whatever clients do. "client": as the client
			does. "passive": ftproxy connects to the server; "pasv" and "epsv" do so with that command
			only. "active": the server connects to ftproxy; "port" and "eprt" do so with that command
			only. Choose what the inside firewall allows.`,
	}, {
		name:  "data_ports",
		value: field(portRange, PortRange{31000, 31099}, func(b *Backend) *PortRange { return &b.DataPorts }),
		help: `The ports that servers connect to in active mode: "FIRST-LAST", or "PORT" for one alone,
			from 1024 up. Each serves one active transfer per server at a time. Allow them from the servers
			to this machine in the inside firewall. Backends may have the same range; otherwise no two
			ranges may overlap. Choose ports outside net.ipv4.ip_local_port_range, as for passive_ports.`,
	}, {
		name:  "trust_data_address",
		value: field(networks, nil, func(b *Backend) *[]netip.Prefix { return &b.TrustDataAddress }),
		help: `Networks of the servers' data addresses, for servers whose data address is not that of their
			control connection. If a server's reply to PASV names an address in them, ftproxy connects to
			it. Addresses in them may also connect in active mode. ftproxy sends such servers PASV rather
			than EPSV, because EPSV names no address.`,
	}, {
		name:  "source",
		value: field(sourceAddresses, Source{}, func(b *Backend) *Source { return &b.Source }),
		help: `The address from which ftproxy connects to these servers. "" lets this machine choose. Or
			write a list of at most one IPv4 and one IPv6 address of this machine. With "client", servers
			see the client's own address, on control and data connections and in active mode. That needs
			Linux, the capability CAP_NET_RAW, and routes: see docs/transparent.md.`,
	}, {
		name:  "source_other_family",
		value: field(either(sourceRefuse, sourceOwn), false, func(b *Backend) *bool { return &b.Source.Own }),
		help: `What happens with source = "client" if one of client and server has an IPv4 address and the
			other an IPv6 address. "refuse": that server is not used for this client; without another
			server the client gets 421. "own": the server sees this machine's address.`,
	}, {
		name:  "send_proxy",
		value: field(words("", "v1", "v2"), "", func(b *Backend) *string { return &b.SendProxy }),
		help: `The version of the PROXY protocol towards these servers, "v1" or "v2". Each control
			connection then begins with a header that says who the client is. "" sends none. Use it only
			for servers that expect it, such as another ftproxy, or ProFTPD with mod_proxy_protocol. Other
			servers take the header for an unknown command.`,
	}, {
		name:  "send_proxy_data",
		value: field(boolean, false, func(b *Backend) *bool { return &b.SendProxyData }),
		help: `Whether the data connections that ftproxy makes to the servers begin with a PROXY header,
			too. Another ftproxy expects it; no FTP server does.`,
	}, {
		name:  "bandwidth",
		value: field(bandwidth, 0, func(b *Backend) *Bandwidth { return &b.Bandwidth }),
		help: `The most that all transfers of these servers together move per second in each direction,
			written as for a frontend. A transfer keeps to every limit that applies to it.`,
	}},
}
