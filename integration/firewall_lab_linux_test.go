package integration

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A walledLab is a lab with a firewall on each side of ftproxy: five namespaces
// in a row. All of them forward and know every route, so that whatever does not
// pass is stopped by rules and by nothing else.
type walledLab struct {
	*lab
	outside, inside *netns // the firewalls
	config          string // the file
	sourced         bool   // it says itself where connections to servers come from
}

// The links of the firewalls and of ftproxy; the outer two have labLink.
const (
	linkClients = "clients"
	linkDMZ     = "dmz"
	linkServers = "servers"
	linkOutside = "outside"
	linkInside  = "inside"
)

// wallPorts are what the configuration of a walled lab confines.
var (
	wallPassive = portRange{30000, 30009}
	wallData    = portRange{31000, 31001}
)

func newWalledLab(t *testing.T) *walledLab {
	t.Helper()
	w := &walledLab{
		lab:     &lab{client: newNetns(t, "client"), proxy: newNetns(t, "proxy"), server: newNetns(t, "server")},
		outside: newNetns(t, "fw-outside"), inside: newNetns(t, "fw-inside"),
	}
	connect := func(a *netns, linkA string, b *netns, linkB string) {
		ip(t, "-n", a.name, "link", "add", linkA, "type", "veth", "peer", "name", linkB, "netns", b.name)
	}
	connect(w.client, labLink, w.outside, linkClients)
	connect(w.outside, linkDMZ, w.proxy, linkOutside)
	connect(w.proxy, linkInside, w.inside, linkDMZ)
	connect(w.inside, linkServers, w.server, labLink)
	w.ends = map[string]labEnds{"IPv4": w.address(t, "198.51.100", "203.0.113", "192.0.2", "10.20.30", ".", "24")}
	if haveIPv6() {
		w.ends["IPv6"] = w.address(t, "2001:db8:c", "2001:db8:d", "fd20:30", "fd20:31", "::", "64")
	}
	for _, n := range []*netns{w.outside, w.proxy, w.inside} {
		n.do(t, func() {
			for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
				if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
		})
	}
	return w
}

// address gives addresses of one family to all links, from the clients' to the
// servers', and tells everyone all routes.
func (w *walledLab) address(t *testing.T, clients, outside, inside, servers, dot, bits string) labEnds {
	t.Helper()
	nets := [4]string{clients, outside, inside, servers}
	give := func(n *netns, link, network, host string) {
		args := []string{"-n", n.name, "addr", "add", network + dot + host + "/" + bits, "dev", link}
		if dot == "::" {
			args = append(args, "nodad")
		}
		ip(t, args...)
		ip(t, "-n", n.name, "link", "set", link, "up")
	}
	route := func(n *netns, via string, to ...string) {
		for _, network := range to {
			if network != "default" {
				network += map[string]string{".": ".0", "::": "::"}[dot] + "/" + bits
			}
			ip(t, "-n", n.name, "route", "add", network, "via", via)
		}
	}
	give(w.client, labLink, clients, "77")
	give(w.outside, linkClients, clients, "1")
	give(w.outside, linkDMZ, outside, "1")
	give(w.proxy, linkOutside, outside, "10")
	give(w.proxy, linkInside, inside, "40")
	give(w.inside, linkDMZ, inside, "1")
	give(w.inside, linkServers, servers, "1")
	give(w.server, labLink, servers, "50")
	route(w.client, clients+dot+"1", "default")
	route(w.outside, outside+dot+"10", inside, servers)
	route(w.proxy, outside+dot+"1", clients)
	route(w.proxy, inside+dot+"1", servers)
	route(w.inside, inside+dot+"40", outside, clients)
	route(w.server, servers+dot+"1", "default")
	at := func(i int, host string) netip.Addr { return netip.MustParseAddr(nets[i] + dot + host) }
	return labEnds{client: at(0, "77"), outside: at(1, "10"), inside: at(2, "40"), server: at(3, "50")}
}

// walls are the places that rules are for, by their names in ftproxy firewall.
func (w *walledLab) walls() map[string]*netns {
	return map[string]*netns{"outside": w.outside, "proxy": w.proxy, "inside": w.inside}
}

// wallKeys are lines of a configuration.
type wallKeys struct{ timeouts, frontend, backend string }

// configure writes a configuration with more keys.
func (w *walledLab) configure(t *testing.T, server netip.AddrPort, keys wallKeys) {
	t.Helper()
	w.config = filepath.Join(t.TempDir(), "config.toml")
	w.sourced = strings.Contains(keys.backend, "source")
	var listen []netip.AddrPort
	for _, e := range w.ends {
		listen = append(listen, netip.AddrPortFrom(e.outside, 21))
	}
	write(t, w.config, fmt.Sprintf(`[log]
level = "debug"
[admin]
listen = "127.0.0.1:9121"
[timeouts]
%s
[frontend.public]
listen = [%s]
passive_ports = "%s"
backend = "legacy"
%s
[backend.legacy]
servers = "%s"
data_ports = "%s"
%s
`, keys.timeouts, quoted(listen), wallPassive, keys.frontend, server, wallData, keys.backend))
}

// rules returns what ftproxy firewall prints for a place.
func (w *walledLab) rules(t *testing.T, place string, args ...string) string {
	t.Helper()
	args = append([]string{"-for", place}, args...)
	if place == "inside" && !w.sourced {
		var own []string
		for _, e := range w.ends {
			own = append(own, e.inside.String())
		}
		args = append(args, "-inside", strings.Join(own, ","))
	}
	return w.firewall(t, args...)
}

// firewall returns what ftproxy firewall prints.
func (w *walledLab) firewall(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"firewall", "-config", w.config}, args...)
	cmd := ftproxyCommand(append([]string{binary}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("ftproxy %s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	return string(text)
}

// load gives rules to a program of the namespace.
func (n *netns) load(t *testing.T, rules, program string, args ...string) {
	t.Helper()
	n.do(t, func() {
		cmd := exec.Command(command(t, program), args...)
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s\n%s", program, err, out, rules)
		}
	})
}

// loadAll loads exactly what ftproxy firewall -nftables prints, everywhere.
func (w *walledLab) loadAll(t *testing.T, args ...string) {
	t.Helper()
	for place, n := range w.walls() {
		n.load(t, w.rules(t, place, append([]string{"-nftables"}, args...)...), "nft", "-f", "-")
	}
	w.forget(t)
}

// forget makes everyone look for their neighbours again, which in IPv6 the rules
// must let them.
func (w *walledLab) forget(t *testing.T) {
	t.Helper()
	for _, n := range []*netns{w.client, w.outside, w.proxy, w.inside, w.server} {
		ip(t, "-n", n.name, "neigh", "flush", "all")
	}
}

// start runs ftproxy behind its walls until the end of the test. before is a
// program to run it with.
func (w *walledLab) start(t *testing.T, before ...string) *process {
	t.Helper()
	throughProxy(t)
	var p *process
	w.proxy.do(t, func() {
		p = start(t, "ftproxy", ftproxyCommand(append(before, binary, "serve", "-config", w.config)...))
	})
	t.Cleanup(func() { // before start's own
		if code := p.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("ftproxy: exit code %d after SIGTERM, want 0", code)
		}
	})
	waitFor(t, "ftproxy listens", time.Minute, func() bool {
		if !p.running() {
			t.Fatalf("ftproxy ended: %v\n%s", p.err, p.out)
		}
		return strings.Contains(p.out.String(), `"admin listening"`) // the last of its addresses
	})
	return p
}

// wantNoHelper fails if a kernel module read FTP for the firewalls: if any of
// them assigns helpers, expected a connection or relates one to another.
func (w *walledLab) wantNoHelper(t *testing.T) {
	t.Helper()
	for place, n := range w.walls() {
		n.do(t, func() {
			// Kernels since 6.0 have no such key: they never assign helpers.
			text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_helper")
			if err == nil && strings.TrimSpace(string(text)) != "0" || err != nil && !os.IsNotExist(err) {
				t.Errorf("%s: nf_conntrack_helper is %q, %v", place, text, err)
			}
			if text, err := os.ReadFile("/proc/thread-self/net/nf_conntrack_expect"); err != nil || len(text) > 0 {
				t.Errorf("%s: expected connections: %q, %v", place, text, err)
			}
			if out, err := exec.Command(command(t, "nft"), "list", "ruleset").Output(); err != nil || bytes.Contains(out, []byte("helper")) {
				t.Errorf("%s: a helper in the rules, or none to be seen: %v\n%s", place, err, out)
			}
		})
	}
}

// reaches tells whether one end can connect to the other, past ftproxy.
func (n *netns) reaches(t *testing.T, to netip.AddrPort, limit time.Duration) (reached bool) {
	t.Helper()
	n.do(t, func() {
		if c, err := net.DialTimeout("tcp", to.String(), limit); err == nil {
			c.Close()
			reached = true
		}
	})
	return reached
}
