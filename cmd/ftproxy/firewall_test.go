package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ftproxy/config"
)

// Every key that concerns a firewall reaches the flows.
func TestFirewallSetup(t *testing.T) {
	c, err := config.Parse("config.toml", []byte(`
[frontend.a]
listen = ["203.0.113.9:21", "203.0.113.9:2121", "[2001:db8::9]:21"]
public_address = ["198.51.100.1", "2001:db8::1"]
advertised_port_offset = 100
passive_ports = "30000-30009"
passive_bind = "203.0.113.10"
active_source_ports = ["20", "40000-40009"]
backend = "client"
[frontend.b]
listen = ":2100"
passive_ports = "30010"
backend = "port"
[frontend.c]
listen = "203.0.113.11:21"
passive_ports = "30011"
proxy_protocol = true
data_proxy_protocol = false
trusted_proxies = ["10.2.0.2", "10.3.0.0/24"]
backend = "port"
[frontend.d]
listen = "203.0.113.12:21"
passive_ports = "30012"
data_proxy_protocol = true
trusted_proxies = "10.2.0.2"
backend = "port"
[backend.client]
servers = ["10.0.0.5", "ftp.example.org:2121"]
data_ports = "31000-31009"
trust_data_address = "10.1.0.0/16"
[backend.epsv]
servers = "10.0.0.6"
data = "epsv"
data_ports = "31010"
source = ["10.0.0.1", "fd00::1"]
[backend.port]
servers = "10.0.0.7"
data = "port"
data_ports = "31011"
source = "client"
`))
	if err != nil {
		t.Fatal(err)
	}
	s := setup(c)
	if !s.DNS {
		t.Error("names are looked up, but there is no DNS")
	}
	a, b := s.Frontends[0], s.Frontends[1]
	if want := []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::9")}; !slices.Equal(a.Passive, want) {
		t.Errorf("passive data arrives at %v, want %v", a.Passive, want)
	}
	if want := []config.PortRange{{First: 20, Last: 20}, {First: 40000, Last: 40009}}; !slices.Equal(a.ActiveSources, want) {
		t.Errorf("active data comes from %v, want %v", a.ActiveSources, want)
	}
	if a.PortOffset != 100 || a.PassivePorts != (config.PortRange{First: 30000, Last: 30009}) || len(a.Control) != 3 {
		t.Errorf("frontend a: %+v", a)
	}
	if b.ControlProxied || b.DataProxied || b.Proxies != nil {
		t.Errorf("frontend b has proxies: %+v", b)
	}
	if c := s.Frontends[2]; !c.ControlProxied || c.DataProxied || len(c.Proxies) != 2 || !slices.Equal(c.Passive, []netip.Addr{netip.IPv4Unspecified()}) {
		t.Errorf("frontend c: %+v", c)
	}
	if d := s.Frontends[3]; d.ControlProxied || !d.DataProxied || len(d.Proxies) != 1 {
		t.Errorf("frontend d: %+v", d)
	}
	if len(b.Passive) != 2 || !b.Passive[0].IsUnspecified() || !b.Passive[1].IsUnspecified() || b.ActiveSources != nil {
		t.Errorf("frontend b: %+v", b)
	}
	for i, want := range []struct{ passive, active, only4 bool }{{true, true, false}, {true, false, false}, {false, true, true}} {
		got := s.Backends[i]
		if got.Passive != want.passive || got.Active != want.active || got.OnlyIPv4 != want.only4 {
			t.Errorf("backend %s: %+v, want %+v", got.Name, got, want)
		}
	}
	for i, want := range [][]netip.Addr{nil, {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, nil} {
		if got := s.Backends[i]; !slices.Equal(got.Sources, want) || got.AsClients != (i == 2) {
			t.Errorf("backend %s: from %v, as clients %t; want %v", got.Name, got.Sources, got.AsClients, want)
		}
	}
	client := s.Backends[0]
	if client.DataPorts != (config.PortRange{First: 31000, Last: 31009}) || len(client.DataPeers) != 1 ||
		len(client.Servers[0].Addrs) != 1 || len(client.Servers[1].Addrs) != 0 || client.Servers[1].Port != 2121 {
		t.Errorf("backend client: %+v", client)
	}
}

// Host names become addresses when -resolve asks for it.
func TestFirewallResolve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	text := "[frontend.a]\nlisten = \":21\"\nbackend = \"b\"\n[backend.b]\nservers = [\"ftp.example.org\", \"10.0.0.5\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var asked []string
	fail := errors.New("no such host")
	var answer error
	var stdout, stderr bytes.Buffer
	p := &program{stdout: &stdout, stderr: &stderr, lookup: func(_ context.Context, _, host string) ([]netip.Addr, error) {
		asked = append(asked, host)
		return []netip.Addr{netip.MustParseAddr("fd00::6"), netip.MustParseAddr("10.0.0.6")}, answer
	}}
	args := []string{"firewall", "-nftables", "-for", "proxy", "-resolve", "-config", path}
	if code := p.run(t.Context(), args); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if want := []string{"ftp.example.org"}; !slices.Equal(asked, want) {
		t.Errorf("looked up %q, want %q", asked, want)
	}
	for _, want := range []string{"elements = { 10.0.0.5, 10.0.0.6 }", "elements = { fd00::6 }", "10.0.0.6, fd00::6. If that"} {
		if !strings.Contains(strings.ReplaceAll(stdout.String(), "\n# ", " "), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
	stdout.Reset()
	answer = fail
	if code := p.run(t.Context(), args); code != exitFailed || stdout.Len() > 0 || !strings.Contains(stderr.String(), "server ftp.example.org: no such host") {
		t.Errorf("exit code %d, %q, %q", code, &stdout, &stderr)
	}
}

// SRV records become their hosts and ports, and the agents are on these hosts.
func TestFirewallResolvesSRV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	text := "[frontend.a]\nlisten = \":21\"\nbackend = \"b\"\n[backend.b]\nservers = [\"srv:_ftp._tcp.example.org\", \"10.0.0.5\"]\ncheck.agent_port = 9999\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	records := []*net.SRV{{Target: "one.example.org.", Port: 2121}, {Target: "two.example.org.", Port: 21}}
	p := &program{stdout: &stdout, stderr: &stderr,
		lookup: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, host[0]})}, nil
		},
		lookupSRV: func(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
			if name != "_ftp._tcp.example.org" {
				t.Errorf("asked for %s", name)
			}
			return name, records, nil
		},
	}
	args := []string{"firewall", "-for", "inside", "-inside", "10.0.0.1", "-resolve", "-config", path}
	if code := p.run(t.Context(), args); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	table := strings.Join(strings.Fields(stdout.String()), " ")
	for _, want := range []string{
		"servers 10.0.0.5 21 control backend b 10.0.1.116",
		"servers 10.0.1.111 2121 control backend b",
		"servers 10.0.0.5 9999 agent backend b 10.0.1.111 10.0.1.116",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
	records = nil
	if code := p.run(t.Context(), args); code != exitFailed || !strings.Contains(stderr.String(), "server srv:_ftp._tcp.example.org: there are no SRV records") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}
