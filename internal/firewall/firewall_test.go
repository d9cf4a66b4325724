package firewall

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ftproxy/config"
)

var update = flag.Bool("update", false, "rewrite testdata with what the code says now")

func addrs(list ...string) (all []netip.Addr) {
	for _, a := range list {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

func ports(list ...string) (all []netip.AddrPort) {
	for _, a := range list {
		all = append(all, netip.MustParseAddrPort(a))
	}
	return all
}

// setups are the configurations whose texts testdata holds.
var setups = map[string]Setup{
	// One public address, one IPv4 server, all modes.
	"simple": {
		Frontends: []Frontend{{
			Name: "public", Control: ports("203.0.113.9:21"), Passive: addrs("203.0.113.9"), PassivePorts: config.PortRange{First: 30000, Last: 30099},
		}},
		Backends: []Backend{{
			Name: "legacy", Servers: []Server{{"10.0.0.5", addrs("10.0.0.5"), 21, false}},
			Passive: true, Active: true, DataPorts: config.PortRange{First: 31000, Last: 31099},
		}},
		Inside: addrs("10.0.0.1"),
	},
	// Clients that are never called back, servers in passive mode with ports
	// of their own.
	"passive": {
		Frontends: []Frontend{{
			Name: "public", Control: ports("0.0.0.0:21", "[::]:21"), Passive: addrs("0.0.0.0", "::"), PassivePorts: config.PortRange{First: 30000, Last: 30000},
			PortOffset: 1000,
		}},
		Backends: []Backend{{
			Name: "legacy", Servers: []Server{{"10.0.0.5", addrs("10.0.0.5"), 21, false}}, Passive: true, DataPorts: config.PortRange{First: 31000, Last: 31099},
		}},
		Outside: addrs("203.0.113.9", "2001:db8::9"), Inside: addrs("10.0.0.1"),
		NoActiveClients: true, ServerPorts: []config.PortRange{{First: 41000, Last: 41009}, {First: 40000, Last: 40099}},
	},
	// Clients that come through proxies: for everything, or for control alone.
	"proxied": {
		Frontends: []Frontend{
			{
				Name: "all", Control: ports("10.1.0.1:21", "[fd01::1]:21"), Passive: addrs("10.1.0.1", "fd01::1"), PassivePorts: config.PortRange{First: 30000, Last: 30099},
				Proxies:        []netip.Prefix{netip.MustParsePrefix("10.2.0.2/32"), netip.MustParsePrefix("10.2.0.0/24"), netip.MustParsePrefix("10.3.0.2/32")},
				ControlProxied: true, DataProxied: true,
			},
			{
				Name: "control", Control: ports("10.1.0.1:2121"), Passive: addrs("10.1.0.1"), PassivePorts: config.PortRange{First: 32000, Last: 32000},
				Proxies: []netip.Prefix{netip.MustParsePrefix("10.2.0.2/32")}, ControlProxied: true,
			},
			{
				Name: "everyone", Control: ports("10.1.0.2:21", "[fd01::2]:21"), Passive: addrs("10.1.0.2", "fd01::2"), PassivePorts: config.PortRange{First: 32001, Last: 32001},
				Proxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd02::/16")}, DataProxied: true,
			},
		},
		Backends: []Backend{{
			Name: "legacy", Servers: []Server{{"10.0.0.5", addrs("10.0.0.5"), 21, false}}, Passive: true, DataPorts: config.PortRange{First: 31000, Last: 31099},
		}},
		Inside: addrs("10.0.0.1"),
	},
	// Servers that see clients' own addresses, and others a fixed one of ftproxy's.
	"sources": {
		Frontends: []Frontend{{
			Name: "public", Control: ports("203.0.113.9:21", "[2001:db8::9]:21"), Passive: addrs("203.0.113.9", "2001:db8::9"), PassivePorts: config.PortRange{First: 30000, Last: 30099},
		}},
		Backends: []Backend{
			{
				Name: "legacy", Servers: []Server{{"10.0.0.5", addrs("10.0.0.5"), 21, false}, {"fd00::5", addrs("fd00::5"), 2121, false}},
				Passive: true, Active: true, DataPorts: config.PortRange{First: 31000, Last: 31099}, AsClients: true,
			},
			{
				Name: "fixed", Servers: []Server{{"10.0.0.6", addrs("10.0.0.6"), 21, false}},
				Passive: true, DataPorts: config.PortRange{First: 31000, Last: 31099}, Sources: addrs("10.0.0.1"),
			},
		},
	},
	// Servers that ftproxy checks and asks, some of which see clients' own addresses.
	"checked": {
		Frontends: []Frontend{{
			Name: "public", Control: ports("203.0.113.9:21"), Passive: addrs("203.0.113.9"), PassivePorts: config.PortRange{First: 30000, Last: 30099},
		}},
		Backends: []Backend{
			{
				Name: "legacy", Servers: []Server{{"10.0.0.5", addrs("10.0.0.5"), 21, false}, {"10.0.0.6", addrs("10.0.0.6"), 2121, false}},
				Passive: true, Checked: true, AgentPort: 9999,
			},
			{
				Name: "client", Servers: []Server{{"10.0.0.7", addrs("10.0.0.7"), 21, false}},
				Passive: true, AsClients: true, Checked: true, AgentPort: 9998,
			},
		},
		Inside: addrs("10.0.0.1"),
	},
	// Everything at once.
	"rich": {
		Frontends: []Frontend{
			{
				Name: "one", Control: ports("203.0.113.9:21", "[2001:db8::9]:21", "203.0.113.10:2121"), Passive: addrs("203.0.113.9", "2001:db8::9", "203.0.113.10"),
				PassivePorts: config.PortRange{First: 30000, Last: 30099}, ActiveSources: []config.PortRange{{First: 20, Last: 20}, {First: 40000, Last: 40099}},
			},
			{Name: "two-b", Control: ports("[2001:db8::10]:21"), Passive: addrs("2001:db8::11"), PassivePorts: config.PortRange{First: 32000, Last: 32000}},
		},
		Backends: []Backend{
			{
				Name: "active", Servers: []Server{{"10.0.0.5", addrs("10.0.0.5"), 21, false}, {"fd00::5", addrs("fd00::5"), 2121, false}},
				Active: true, DataPorts: config.PortRange{First: 31000, Last: 31000}, DataPeers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("10.9.0.0/16")},
			},
			{
				Name: "pasv", Servers: []Server{{"ftp.example.org", addrs("10.1.0.6", "fd01::6"), 21, true}},
				Passive: true, OnlyIPv4: true, DataPorts: config.PortRange{First: 31000, Last: 31000},
			},
		},
		Inside: addrs("10.0.0.1", "fd00::1"), DNS: true,
	},
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; go test -update writes it anew. Now it is:\n%s", path, text)
	}
}

func TestTexts(t *testing.T) {
	for name, s := range setups {
		golden(t, name+".table.txt", s.Table(""))
		if routes, err := s.Routes(); !errors.Is(err, ErrNotTransparent) {
			golden(t, name+".routes.sh", routes)
		}
		for _, place := range Places {
			text, err := s.NFTables(place)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+string(place)+".nft", text)
			for ipv6, family := range map[bool]string{false: "ipv4", true: "ipv6"} {
				text, err := s.IPTables(place, ipv6)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, name+"."+string(place)+"."+family, text)
			}
		}
	}
}

// Rules are not written with holes in them.
func TestUnknown(t *testing.T) {
	change := func(f func(*Setup)) Setup {
		s := setups["simple"]
		s.Frontends, s.Backends = slices.Clone(s.Frontends), slices.Clone(s.Backends)
		f(&s)
		return s
	}
	tests := []struct {
		name  string
		setup Setup
		want  map[Place]error
	}{
		{"all known", change(func(*Setup) {}), nil},
		{"wildcard", change(func(s *Setup) { s.Frontends[0].Control = ports("0.0.0.0:21") }), map[Place]error{Outside: ErrOutside}},
		{"wildcard for data", change(func(s *Setup) { s.Frontends[0].Passive = addrs("0.0.0.0") }), map[Place]error{Outside: ErrOutside}},
		{"wildcard of another family", change(func(s *Setup) {
			s.Frontends[0].Control, s.Frontends[0].Passive = ports("[::]:21"), addrs("::")
			s.Outside = addrs("203.0.113.9")
		}), map[Place]error{Outside: ErrOutside, Host: ErrOutside}},
		{"no address inside", change(func(s *Setup) { s.Inside = nil }), map[Place]error{Inside: ErrInside}},
		{"an address of another family inside", change(func(s *Setup) { s.Inside = addrs("fd00::1") }), map[Place]error{Inside: ErrInside, Host: ErrInside}},
		{"name", change(func(s *Setup) { s.Backends[0].Servers = []Server{{Host: "ftp.example.org", Port: 21}} }),
			map[Place]error{Inside: ErrName, Host: ErrName}},
		{"port 0", change(func(s *Setup) { s.Frontends[0].Control = ports("203.0.113.9:0") }), map[Place]error{Outside: ErrPort, Host: ErrPort}},
	}
	for _, tt := range tests {
		for _, place := range Places {
			nft, err := tt.setup.NFTables(place)
			if !errors.Is(err, tt.want[place]) || (err == nil) != (nft != "") {
				t.Errorf("%s: rules of %s: %v, want %v", tt.name, place, err, tt.want[place])
			}
			if _, err := tt.setup.IPTables(place, false); !errors.Is(err, tt.want[place]) {
				t.Errorf("%s: iptables rules of %s: %v, want %v", tt.name, place, err, tt.want[place])
			}
		}
		if tt.setup.Table("") == "" {
			t.Errorf("%s: no table", tt.name)
		}
	}
}

// Rules for servers that see clients' addresses need no address of ftproxy's, and
// nothing marks packets where no server does.
func TestTransparent(t *testing.T) {
	s := setups["simple"]
	s.Inside, s.Backends = nil, slices.Clone(s.Backends)
	if _, err := s.Routes(); !errors.Is(err, ErrNotTransparent) {
		t.Errorf("routes for no such server: %v", err)
	}
	for _, asClients := range []bool{false, true} {
		s.Backends[0].AsClients = asClients
		nft, err := s.NFTables(Host)
		if err != nil || strings.Contains(nft, "socket transparent") != asClients {
			t.Errorf("as clients %t: %v, marked %t", asClients, err, !asClients)
		}
		for ipv6, family := range map[bool]string{false: "IPv4", true: "IPv6"} {
			ipt, err := s.IPTables(Host, ipv6)
			if marks := asClients && !ipv6; err != nil || strings.Contains(ipt, "--transparent") != marks {
				t.Errorf("as clients %t: %s: %v, marked %t", asClients, family, err, !marks)
			}
		}
		if _, err := s.NFTables(Inside); errors.Is(err, ErrInside) == asClients {
			t.Errorf("as clients %t: rules for the inside: %v", asClients, err)
		}
	}
	routes, err := s.Routes()
	if err != nil || !strings.Contains(routes, "\nip -4 rule add") || strings.Contains(routes, "\nip -6") {
		t.Errorf("routes for an IPv4 server: %v\n%s", err, routes)
	}
	s.Backends[0].Servers = []Server{{Host: "ftp.example.org", Port: 21}}
	routes, err = s.Routes()
	if err != nil || !strings.Contains(routes, "\nip -4 rule add") || !strings.Contains(routes, "\nip -6 rule add") {
		t.Errorf("routes for a server whose family nobody knows: %v\n%s", err, routes)
	}
}

// A flow stands in the rules of exactly those places that it passes, and one
// that the configuration does not permit in none.
func TestOnlyWhatIsPermitted(t *testing.T) {
	for _, tt := range []struct {
		passive, active, noActiveClients bool
	}{{true, true, false}, {true, false, false}, {false, true, false}, {false, true, true}} {
		s := setups["simple"]
		s.Backends = slices.Clone(s.Backends)
		s.Backends[0].Passive, s.Backends[0].Active, s.NoActiveClients = tt.passive, tt.active, tt.noActiveClients
		for _, place := range Places {
			outside, inside := place != Inside, place != Outside
			want := map[string]bool{
				"frontend public, clients to ftproxy: control":                         outside,
				"frontend public, clients to ftproxy: data of clients in passive mode": outside,
				"frontend public, ftproxy to clients: data of clients in active mode":  outside && !tt.noActiveClients,
				"backend legacy, ftproxy to servers: control":                          inside,
				"backend legacy, ftproxy to servers: data, with the server in passive": inside && tt.passive,
				"backend legacy, servers to ftproxy: data, with the server in active":  inside && tt.active,
				"31000-31099": inside && tt.active,
				"31000:31099": inside && tt.active,
			}
			nft, err := s.NFTables(place)
			if err != nil {
				t.Fatal(err)
			}
			ipt, err := s.IPTables(place, false)
			if err != nil {
				t.Fatal(err)
			}
			for text, wanted := range want {
				if in := strings.Contains(nft, text); in != wanted && text != "31000:31099" {
					t.Errorf("%+v: %q in nftables rules of %s: %t", tt, text, place, in)
				}
				if in := strings.Contains(ipt, text); in != wanted && text != "31000-31099" {
					t.Errorf("%+v: %q in iptables rules of %s: %t", tt, text, place, in)
				}
			}
		}
	}
}

// Where only proxies connect, nobody else may: each rule for new connections to
// such ports has their addresses.
func TestOnlyProxies(t *testing.T) {
	s := setups["proxied"]
	s.Frontends = s.Frontends[:1]
	for _, place := range []Place{Outside, Host} {
		nft, err := s.NFTables(place)
		if err != nil {
			t.Fatal(err)
		}
		ipt, err := s.IPTables(place, false)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for line := range strings.Lines(nft + ipt) {
			toUs := strings.Contains(line, "daddr @frontend_all_") || strings.Contains(line, " -d 10.1.0.1 ")
			if !toUs {
				continue
			}
			seen++
			if !strings.Contains(line, "ip saddr @frontend_all_proxies_ipv4 ") && !strings.Contains(line, " -s 10.2.0.0/24,10.3.0.2 ") {
				t.Errorf("%s: not from proxies: %s", place, line)
			}
		}
		if seen != 4 {
			t.Errorf("%s: %d rules, want 2 in each language", place, seen)
		}
		if ipt, err := s.IPTables(place, true); err != nil || strings.Contains(ipt, "-d fd01::1") {
			t.Errorf("%s: IPv6 rules for proxies that have none: %v\n%s", place, err, ipt)
		}
	}
}

// Two sets never become one because a frontend is named like a set of another.
func TestSetNames(t *testing.T) {
	s := setups["simple"]
	s.Frontends = []Frontend{
		{Name: "a", Control: ports("203.0.113.1:21", "203.0.113.2:2121"), Passive: addrs("203.0.113.1"), PassivePorts: config.PortRange{First: 30000, Last: 30009}},
		{Name: "a_port_21", Control: ports("203.0.113.3:21"), Passive: addrs("203.0.113.3"), PassivePorts: config.PortRange{First: 30000, Last: 30009}},
	}
	text, err := s.NFTables(Outside)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "\tset "); ok {
			if seen[name] {
				t.Errorf("two sets named %s", name)
			}
			seen[name] = true
		}
	}
}

// SRV records that were not looked up have no port, and rules want them looked up.
func TestUnknownPort(t *testing.T) {
	s := setups["simple"]
	s.Backends = slices.Clone(s.Backends)
	s.Backends[0].Servers = []Server{{Host: "srv:_ftp._tcp.example.org"}}
	s.Backends[0].AgentPort = 9999
	table := strings.Join(strings.Fields(s.Table(Inside)), " ")
	for _, want := range []string{
		"servers srv:_ftp._tcp.example.org any [1] control backend legacy",
		"servers srv:_ftp._tcp.example.org 9999 agent backend legacy",
		"[1] SRV records have the port. -resolve looks them up.",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, s.Table(Inside))
		}
	}
	if _, err := s.NFTables(Inside); !errors.Is(err, ErrName) {
		t.Errorf("rules: %v", err)
	}
}
