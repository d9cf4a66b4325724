package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// proxied is a frontend that clients reach through proxies, with more keys.
func proxied(keys string) string {
	return "[frontend.a]\nlisten = ['192.0.2.1:21', '192.0.2.2:21', '[2001:db8::1]:21']\nbackend = 'b'\n" + keys +
		"\n[backend.b]\nservers = '10.0.0.5'\n"
}

// data_proxy_protocol follows proxy_protocol unless it is written.
func TestDataProxyProtocolFollows(t *testing.T) {
	const trusted = "trusted_proxies = '10.0.0.2'\n"
	for keys, want := range map[string][2]bool{
		"":                                  {false, false},
		"proxy_protocol = true\n" + trusted: {true, true},
		"proxy_protocol = true\ndata_proxy_protocol = true\n" + trusted:  {true, true},
		"proxy_protocol = true\ndata_proxy_protocol = false\n" + trusted: {true, false},
		"proxy_protocol = false\ndata_proxy_protocol = true\n" + trusted: {false, true},
		"proxy_protocol = false\ndata_proxy_protocol = false\n":          {false, false},
		"proxy_protocol = false\ntrusted_proxies = []\n":                 {false, false},
		"data_proxy_protocol = true\n" + trusted:                         {false, true},
	} {
		f := mustParse(t, proxied(keys)).Frontends[0]
		if got := [2]bool{f.ProxyProtocol, f.DataProxyProtocol}; got != want || f.Proxied() != (want[0] || want[1]) {
			t.Errorf("%q: control and data are %v, want %v; %t", keys, got, want, f.Proxied())
		}
	}
}

// A change that follows from another is shown, too, and what a new frontend shows
// would give that frontend.
func TestChangesOfProxies(t *testing.T) {
	plain := mustParse(t, proxied(""))
	both := mustParse(t, proxied("proxy_protocol = true\ntrusted_proxies = '10.0.0.2'"))
	control := mustParse(t, proxied("proxy_protocol = true\ndata_proxy_protocol = false\ntrusted_proxies = '10.0.0.2'"))
	want := []Change{
		{"frontend.a.data_proxy_protocol", "false", "true"},
		{"frontend.a.proxy_protocol", "false", "true"},
		{"frontend.a.trusted_proxies", "[]", `["10.0.0.2/32"]`},
	}
	if got := Changes(plain, both); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for c, want := range map[*Config]string{
		both:    `{ listen = ["192.0.2.1:21", "192.0.2.2:21", "[2001:db8::1]:21"], proxy_protocol = true, trusted_proxies = ["10.0.0.2/32"], backend = "b" }`,
		control: `{ listen = ["192.0.2.1:21", "192.0.2.2:21", "[2001:db8::1]:21"], proxy_protocol = true, data_proxy_protocol = false, trusted_proxies = ["10.0.0.2/32"], backend = "b" }`,
	} {
		without := *c
		without.Frontends = nil
		if got := Changes(&without, c); len(got) != 1 || got[0].New != want {
			t.Errorf("got  %v\nwant %s", got, want)
		}
	}
}

// Behind proxies, data ports listen on every address unless passive_bind says where.
func TestDataAddrs(t *testing.T) {
	const on = "trusted_proxies = '10.0.0.2'\nproxy_protocol = true\n"
	for keys, want := range map[string][]string{
		"":                                  {"192.0.2.1", "192.0.2.2", "2001:db8::1"},
		"passive_bind = '192.0.2.3'":        {"192.0.2.3", "2001:db8::1"},
		on:                                  {"0.0.0.0", "::"},
		on + "passive_bind = '192.0.2.3'":   {"192.0.2.3", "::"},
		on + "passive_bind = '2001:db8::3'": {"0.0.0.0", "2001:db8::3"},
		"trusted_proxies = '10.0.0.2'\ndata_proxy_protocol = true": {"192.0.2.1", "192.0.2.2", "2001:db8::1"},
	} {
		c := mustParse(t, proxied(keys))
		var got []string
		for _, a := range c.Frontends[0].DataAddrs() {
			got = append(got, a.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", keys, got, want)
		}
	}
	f := NewFrontend("built in code")
	f.Listen, f.ProxyProtocol = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:21")}, true
	if got := f.DataAddrs(); len(got) != 1 || got[0] != netip.IPv4Unspecified() {
		t.Errorf("a frontend of one family: %v", got)
	}
}

// Frontends that share ports and agree, or whose ports or addresses differ, are
// no fault; those that are stand in testdata/bad.
func TestSharedProxies(t *testing.T) {
	frontend := func(name, listen, keys string) string {
		return "[frontend." + name + "]\nlisten = '" + listen + "'\nbackend = 'b'\n" + keys + "\n"
	}
	const one, other = "data_proxy_protocol = true\ntrusted_proxies = '10.0.0.2'\n", "data_proxy_protocol = true\ntrusted_proxies = '10.0.0.3'\n"
	for _, tt := range []struct {
		name, text string
		fault      bool
	}{
		{"the same", frontend("a", "192.0.2.1:21", one) + frontend("b", "192.0.2.1:22", one), false},
		{"other proxies", frontend("a", "192.0.2.1:21", one) + frontend("b", "192.0.2.1:22", other), true},
		{"more proxies", frontend("a", "192.0.2.1:21", one) + frontend("b", "192.0.2.1:22", "data_proxy_protocol = true\ntrusted_proxies = ['10.0.0.2', '10.0.0.3']\n"), true},
		{"other proxies on other addresses", frontend("a", "192.0.2.1:21", one) + frontend("b", "192.0.2.2:21", other), false},
		{"other proxies on every address", frontend("a", "192.0.2.1:21", one) + frontend("b", "0.0.0.0:22", other), true},
		{"other proxies at other ports", frontend("a", "192.0.2.1:21", one) + frontend("b", "192.0.2.1:22", other+"passive_ports = '40000'"), false},
		{"none", frontend("a", "192.0.2.1:21", one) + frontend("b", "192.0.2.1:22", ""), true},
		{"proxies for control only", frontend("a", "192.0.2.1:21", "") +
			frontend("b", "192.0.2.1:22", "passive_bind = '192.0.2.1'\nproxy_protocol = true\ndata_proxy_protocol = false\ntrusted_proxies = '10.0.0.3'"), false},
	} {
		_, err := Parse("config.toml", []byte(tt.text+"[backend.b]\nservers = '10.0.0.5'\n"))
		if (err != nil) != tt.fault {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestWarningsOfProxies(t *testing.T) {
	const control = "proxy_protocol = true\ndata_proxy_protocol = false\ntrusted_proxies = '10.0.0.0/8'\n"
	for keys, want := range map[string][]string{
		"proxy_protocol = true\ntrusted_proxies = ['10.0.0.0/8', 'fc00::/7']": nil,
		"proxy_protocol = true\ntrusted_proxies = ['0.0.0.0/0', '2000::/3']": {
			`config.toml:5: frontend.a.trusted_proxies: with "0.0.0.0/0" nearly everybody can claim to be anybody; write the addresses of the proxies, for example "10.0.0.2"`,
			`config.toml:5: frontend.a.trusted_proxies: with "2000::/3" nearly everybody can claim to be anybody; write the addresses of the proxies, for example "10.0.0.2"`,
		},
		control: {
			`config.toml:5: frontend.a.data_proxy_protocol: is false, but with public_address = "auto" clients connect to the proxy for data, too, and what comes from there without a PROXY header is refused; write data_proxy_protocol = true, or the address where clients reach ftproxy itself as public_address`,
		},
		control + "public_address = '203.0.113.9'": nil,
	} {
		var got []string
		for _, p := range Warnings(mustParse(t, proxied(keys)), Sysctl{}) {
			got = append(got, p.Error())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got\n%q\nwant\n%q", keys, got, want)
		}
	}
}

// A header that comes with the client's first bytes never comes where the client sends
// none; with implicit TLS it comes before any greeting.
func TestGreetFirstWarnings(t *testing.T) {
	const keys = "proxy_protocol = true\nproxy_header_after_greeting = true\nbanner = 'Files'\ntrusted_proxies = '10.0.0.2'\n"
	const tls = "[frontend.a.tls]\ncertificate = '/a.pem'\nmode = "
	const silent = `frontend.a.data_proxy_protocol: is true, but a client that downloads in the clear sends nothing, so a proxy that sends its header with the client's first bytes never sends it; have the proxy keep the client's address on data ports and write data_proxy_protocol = false, or have it send its header at once (docs/proxy-protocol.md)`
	const implicit = `frontend.a.proxy_header_after_greeting: has no effect with implicit TLS, where the client speaks before the greeting; remove this key`
	for _, tt := range []struct {
		keys string
		want []string
	}{
		{"", []string{silent}},
		{"data_proxy_protocol = false\n", nil},
		{tls + "'required'\n", nil},
		{tls + "'optional'\n", []string{silent}},
		{tls + "'implicit'\n", []string{implicit}},
	} {
		c := mustParse(t, "[frontend.a]\nlisten = '192.0.2.1:21'\nbackend = 'b'\n"+keys+tt.keys+"[backend.b]\nservers = '10.0.0.5'\n")
		var got []string
		for _, p := range Warnings(c, Sysctl{}) {
			if strings.HasSuffix(p.Key, ".listen") { // of the port, which is not implicit TLS's
				continue
			}
			got = append(got, p.Key+": "+p.Message+"; "+p.Hint)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.keys, got, tt.want)
		}
	}
}
