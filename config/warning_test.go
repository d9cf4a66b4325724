package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const warned = `[frontend.a]
listen = "192.0.2.1:21"
backend = "legacy"
passive_ports = "40000-40099"

[frontend.b]
listen = ["192.0.2.2:0"]
backend = "legacy"
passive_ports = "989-990"

[frontend.c]
listen = "192.0.2.3:21"
backend = "legacy"
passive_ports = "40000-40099"

[backend.legacy]
servers = "10.0.0.5"
data_ports = "32700-32800"

[backend.tapes]
servers = "10.0.0.6"
`

func TestWarnings(t *testing.T) {
	linux := PortRange{32768, 60999}
	rest := []string{
		`config.toml:7: frontend.b.listen: "192.0.2.2:0" has port 0, so the port differs at every start; write port 21`,
		`config.toml:9: frontend.b.passive_ports: "989-990" holds ports below 1024, which need the capability CAP_NET_BIND_SERVICE; write ports from 1024 up`,
		`config.toml:20: backend.tapes: no frontend names this backend; write backend = "tapes" in a frontend, or remove [backend.tapes]`,
	}
	for _, tt := range []struct {
		name   string
		sysctl Sysctl
		ports  []string
	}{
		{"nothing known", Sysctl{}, nil},
		{"nothing reserved", Sysctl{Ephemeral: linux}, []string{
			`config.toml:4: frontend.a.passive_ports: the kernel may give the ports 40000-40099 to other connections (net.ipv4.ip_local_port_range is 32768 60999); write ports outside of that range, or run: sysctl -w net.ipv4.ip_local_reserved_ports=32700-32800,40000-40099`,
			`config.toml:14: frontend.c.passive_ports: the kernel may give the ports 40000-40099 to other connections (net.ipv4.ip_local_port_range is 32768 60999); write ports outside of that range, or run: sysctl -w net.ipv4.ip_local_reserved_ports=32700-32800,40000-40099`,
			`config.toml:18: backend.legacy.data_ports: the kernel may give the ports 32768-32800 to other connections (net.ipv4.ip_local_port_range is 32768 60999); write ports outside of that range, or run: sysctl -w net.ipv4.ip_local_reserved_ports=32700-32800,40000-40099`,
		}},
		{"some reserved, by others too", Sysctl{linux, []PortRange{{8080, 8080}, {40090, 41000}, {40010, 40019}, {32768, 32800}}}, []string{
			`config.toml:4: frontend.a.passive_ports: the kernel may give the ports 40000-40009,40020-40089 to other connections (net.ipv4.ip_local_port_range is 32768 60999); write ports outside of that range, or run: sysctl -w net.ipv4.ip_local_reserved_ports=8080,32768-32800,40000-41000`,
			`config.toml:14: frontend.c.passive_ports: the kernel may give the ports 40000-40009,40020-40089 to other connections (net.ipv4.ip_local_port_range is 32768 60999); write ports outside of that range, or run: sysctl -w net.ipv4.ip_local_reserved_ports=8080,32768-32800,40000-41000`,
		}},
		{"all reserved", Sysctl{linux, []PortRange{{32000, 32767}, {32768, 65535}}}, nil},
		{"elsewhere", Sysctl{Ephemeral: PortRange{50000, 65535}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Warnings(mustParse(t, warned), tt.sysctl) {
				got = append(got, p.Error())
			}
			var want []string // sorted by line: 4, 7, 9, 14, 18, 20
			for _, w := range tt.ports {
				if strings.HasPrefix(w, "config.toml:4:") {
					want = append(want, w)
				}
			}
			want = append(want, rest[:2]...)
			for _, w := range tt.ports {
				if !strings.HasPrefix(w, "config.toml:4:") {
					want = append(want, w)
				}
			}
			want = append(want, rest[2])
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestNoWarnings(t *testing.T) {
	sysctl := Sysctl{Ephemeral: PortRange{32768, 60999}}
	if got := Warnings(mustParse(t, minimal), sysctl); len(got) > 0 {
		t.Errorf("the defaults give warnings: %v", got)
	}
	c := Defaults()
	f, b := NewFrontend("demo"), NewBackend("demo")
	f.Listen, f.Backend = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2121")}, "demo"
	c.Frontends, c.Backends = []Frontend{f}, []Backend{b}
	if got := Warnings(&c, sysctl); len(got) > 0 {
		t.Errorf("a configuration built in code: %v", got)
	}
}

// A default has no line of its own: the warning stands at its table.
func TestWarningAboutDefault(t *testing.T) {
	got := Warnings(mustParse(t, minimal), Sysctl{Ephemeral: PortRange{1024, 65535}})
	if len(got) != 2 || got[0].Line != 2 || got[1].Line != 5 {
		t.Errorf("got %v, want one in line 2 and one in line 5", got)
	}
}

func TestParseSysctl(t *testing.T) {
	for _, tt := range []struct {
		ports, reserved string
		want            Sysctl
		ok              bool
	}{
		{"32768\t60999\n", "\n", Sysctl{Ephemeral: PortRange{32768, 60999}}, true},
		{"1024 65535", "8080,30000-30099\n", Sysctl{PortRange{1024, 65535}, []PortRange{{8080, 8080}, {30000, 30099}}}, true},
		{"", "", Sysctl{}, false},
		{"32768", "", Sysctl{}, false},
		{"a b", "", Sysctl{}, false},
		{"32768 70000", "", Sysctl{}, false},
		{"32768 60999", "x", Sysctl{}, false},
		{"32768 60999", "a-b", Sysctl{}, false},
	} {
		got, err := ParseSysctl(tt.ports, tt.reserved)
		if (err == nil) != tt.ok || tt.ok && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseSysctl(%q, %q) = %v, %v; want %v", tt.ports, tt.reserved, got, err, tt.want)
		}
	}
}

func TestWarningsOfBandwidth(t *testing.T) {
	c := mustParse(t, `[frontend.a]
listen = ":21"
backend = "legacy"
bandwidth = "19.9kB/s"
session_bandwidth = "20kB/s"
[backend.legacy]
servers = "10.0.0.5"
bandwidth = "100kbit/s"
`)
	want := []string{
		`config.toml:4: frontend.a.bandwidth: 19900 B/s is kept over minutes only, because the kernel sends tens of kilobytes at once; write 20kB/s or more`,
		`config.toml:8: backend.legacy.bandwidth: 12500 B/s is kept over minutes only, because the kernel sends tens of kilobytes at once; write 20kB/s or more`,
	}
	var got []string
	for _, p := range Warnings(c, Sysctl{}) {
		got = append(got, p.Error())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// With source = "client" a client needs a server of its family.
func TestWarningsOfSource(t *testing.T) {
	const refused = `config.toml:2: frontend.a.listen: IPv6 clients get 421: no server of backend legacy has an IPv6 address, and source = "client" shows servers the client's own; listen on IPv4 only, or write source_other_family = "own" in [backend.legacy]`
	for _, tt := range []struct {
		name, frontend, servers, backend string
		want                             []string
	}{
		{"both families, one server", `listen = ":21"`, `"10.0.0.5"`, `source = "client"`, []string{refused}},
		{"IPv6 only", `listen = "[::]:21"`, `"10.0.0.5"`, `source = "client"`, []string{refused}},
		{"one family", `listen = "0.0.0.0:21"`, `"10.0.0.5"`, `source = "client"`, nil},
		{"both families of servers", `listen = ":21"`, `["10.0.0.5", "fd00::5"]`, `source = "client"`, nil},
		{"a name", `listen = ":21"`, `["10.0.0.5", "ftp.example.net"]`, `source = "client"`, nil},
		{"own", `listen = ":21"`, `"10.0.0.5"`, "source = \"client\"\nsource_other_family = \"own\"", nil},
		{"fixed", `listen = ":21"`, `"10.0.0.5"`, `source = "10.0.0.1"`, nil},
		{"behind proxies", "listen = \"0.0.0.0:21\"\nproxy_protocol = true\ntrusted_proxies = \"10.0.0.2\"", `"fd00::5"`, `source = "client"`, nil},
	} {
		c := mustParse(t, "[frontend.a]\n"+tt.frontend+"\nbackend = \"legacy\"\n[backend.legacy]\nservers = "+tt.servers+"\n"+tt.backend+"\n")
		var got []string
		for _, p := range Warnings(c, Sysctl{}) {
			got = append(got, p.Error())
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}
