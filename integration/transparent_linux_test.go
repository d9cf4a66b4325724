package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What servers see of their clients, with the recipe of docs/transparent.md: the
// rules and the routes that ftproxy firewall prints, loaded as they are.

// strict is a vsftpd that refuses data connections from and to any other address
// than that of control, and makes its own from port 20 (as root).
var strict = serverKind{name: "vsftpd", start: func(t *testing.T, addr netip.Addr, root string) *server {
	return startVsftpdWith(t, addr, root, "pasv_promiscuous=NO\nport_promiscuous=NO\n", serverTLS{})
}}

// few are the capabilities of a service that needs no root.
var few = []string{"setpriv", "--bounding-set", "-all,+net_raw,+net_bind_service", "--inh-caps", "-all"}

// startTransparent makes a walled lab with rules, routes and ftproxy in force.
func startTransparent(t *testing.T, kind serverKind, family string, keys wallKeys) (*walledLab, *server) {
	t.Helper()
	command(t, few[0])
	w, s := startWalled(t, kind, family, keys)
	w.sysctl(t, "rp_filter", "1")
	w.loadAll(t)
	w.loadRoutes(t)
	w.start(t, few...)
	return w, s
}

// loadRoutes runs exactly what ftproxy firewall -routes prints, twice as after a
// change of the configuration.
func (w *walledLab) loadRoutes(t *testing.T) {
	t.Helper()
	for range 2 {
		w.proxy.load(t, w.firewall(t, "-routes"), "sh")
	}
}

// sysctl sets a key of the links of ftproxy's machine.
func (w *walledLab) sysctl(t *testing.T, key, value string) {
	t.Helper()
	w.proxy.do(t, func() {
		for _, at := range []string{"all", "default", linkInside, linkOutside} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+at+"/"+key, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestTransparent: the server sees each client's own address, on control and data,
// told in either mode, whatever the client's mode is.
func TestTransparent(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, kind := range []serverKind{strict, serverNamed("proftpd")} {
		for _, mode := range wallModes {
			for _, family := range []string{"IPv4", "IPv6"} {
				if mode.data != "client" && (mode.data != "passive" && mode.data != "active" || kind.name != "vsftpd") {
					continue // The verb alone makes no difference to addresses.
				}
				t.Run(kind.name+"/"+mode.data+"/"+family, func(t *testing.T) {
					t.Parallel()
					keys := mode.keys()
					keys.backend += "\nsource = \"client\""
					w, s := startTransparent(t, kind, family, keys)
					w.wantTransparent(t, s, family)
					w.wantTold(t, s, mode)
					w.wantNoHelper(t)
					w.wantApart(t, s, family)
					w.wantOtherRefused(t, family)
				})
			}
		}
	}
}

// wantTransparent transfers with every verb of the clients of a family, and looks
// at what was on the wire and what the server has logged.
func (w *walledLab) wantTransparent(t *testing.T, s *server, family string) {
	t.Helper()
	e := w.ends[family]
	outside, inside := w.client.capture(t), w.server.capture(t)
	for _, verb := range clientVerbs[family] {
		t.Run(verb, func(t *testing.T) {
			w.client.do(t, func() { everyWay(t, s, e, verb) })
		})
	}
	seen := outside.end(t, w.client, w.ends)
	for _, hidden := range []netip.Addr{e.server, e.inside} {
		seen.wantNo(t, "the client's link", hidden)
	}
	seen = inside.end(t, w.server, w.ends)
	seen.wantEnds(t, "the server's link", e.client, e.server)
	for _, hidden := range []netip.Addr{e.outside, e.inside} {
		seen.wantNowhere(t, "the server's link", hidden)
	}
	s.wantClients(t, e.client)
}

// wantEnds expects that every TCP connection is between two addresses.
func (tr *traces) wantEnds(t *testing.T, where string, a, b netip.Addr) {
	t.Helper()
	for key := range tr.streams {
		from, to := key[0].Addr(), key[1].Addr()
		if (from != a || to != b) && (from != b || to != a) {
			t.Errorf("%s: a connection from %s to %s", where, key[0], key[1])
		}
	}
}

// wantNowhere expects an address in no text that TCP carries; headers are for
// wantEnds.
func (tr *traces) wantNowhere(t *testing.T, where string, hidden netip.Addr) {
	t.Helper()
	(&traces{streams: tr.streams}).wantNo(t, where, hidden)
}

// Whom vsftpd names as its client, and for what; and ProFTPD, in the log that the
// tests have it write.
var (
	vsftpdClient  = regexp.MustCompile(`OK (DOWNLOAD|UPLOAD): Client "([^"]+)"`)
	proftpdClient = regexp.MustCompile(`(?m)^(\S+) (RETR|STOR) `)
)

// wantClients expects the server's own log to have downloads and uploads of each
// client, and of nobody else.
func (s *server) wantClients(t *testing.T, clients ...netip.Addr) {
	t.Helper()
	type deed struct {
		client netip.Addr
		what   string
	}
	seen := make(map[deed]int)
	for _, m := range vsftpdClient.FindAllStringSubmatch(s.log(), -1) {
		seen[deed{netip.MustParseAddr(m[2]).Unmap(), m[1]}]++
	}
	for _, m := range proftpdClient.FindAllStringSubmatch(s.log(), -1) {
		seen[deed{netip.MustParseAddr(m[1]).Unmap(), map[string]string{"RETR": "DOWNLOAD", "STOR": "UPLOAD"}[m[2]]}]++
	}
	for _, c := range clients {
		for _, what := range []string{"DOWNLOAD", "UPLOAD"} {
			if seen[deed{c, what}] == 0 {
				t.Errorf("the server logged no %s of %s; it has %v", what, c, seen)
			}
		}
	}
	for d := range seen {
		if !slices.Contains(clients, d.client) {
			t.Errorf("the server logged a %s of %s", d.what, d.client)
		}
	}
}

// wantOtherRefused expects 421 for a client of the other family.
func (w *walledLab) wantOtherRefused(t *testing.T, family string) {
	t.Helper()
	for other, e := range w.ends {
		if other == family {
			continue
		}
		if code := w.greeting(t, e); code != 421 {
			t.Errorf("a client of %s is greeted with %d, want 421", other, code)
		}
	}
}

// greeting is the code that a client is greeted with.
func (w *walledLab) greeting(t *testing.T, e labEnds) (code int) {
	t.Helper()
	w.client.do(t, func() {
		r, got, err := dialRaw(e.client, netip.AddrPortFrom(e.outside, 21), patience)
		if err != nil {
			t.Fatal(err)
		}
		code = got
		r.Close()
	})
	return code
}

// TestTransparentOwn: clients of the other family come from ftproxy's address.
func TestTransparentOwn(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			w, s := startTransparent(t, strict, family, wallKeys{backend: "source = \"client\"\nsource_other_family = \"own\""})
			clients := []netip.Addr{w.ends[family].client}
			for other, e := range w.ends {
				if other != family {
					clients = append(clients, w.ends[family].inside)
				}
				for _, verb := range clientVerbs[other] {
					t.Run(verb+"-"+other, func(t *testing.T) {
						w.client.do(t, func() { everyWay(t, s, e, verb) })
					})
				}
			}
			s.wantClients(t, clients...)
		})
	}
}

// TestFixedSource: of two addresses inside, the server sees the one that is written
// and not the one that the kernel would choose.
func TestFixedSource(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			second := map[string]string{"IPv4": "192.0.2.41", "IPv6": "fd20:30::41"}[family]
			w, s := startWalled(t, strict, family, wallKeys{backend: fmt.Sprintf("source = %q", second)})
			args := []string{"-n", w.proxy.name, "addr", "add", second + "/24", "dev", linkInside}
			if family == "IPv6" {
				args[4] = second + "/64"
				args = append(args, "nodad", "preferred_lft", "0") // so that the kernel prefers the first
			}
			ip(t, args...)
			w.loadAll(t)
			w.start(t)
			inside := w.server.capture(t)
			for family, e := range w.ends {
				for _, verb := range clientVerbs[family] {
					t.Run(verb+"-"+family, func(t *testing.T) {
						w.client.do(t, func() { everyWay(t, s, e, verb) })
					})
				}
			}
			e := w.ends[family]
			seen := inside.end(t, w.server, w.ends)
			seen.wantEnds(t, "the server's link", netip.MustParseAddr(second), e.server)
			for _, e := range w.ends {
				for _, hidden := range []netip.Addr{e.client, e.outside, e.inside} {
					seen.wantNowhere(t, "the server's link", hidden)
				}
			}
			s.wantClients(t, netip.MustParseAddr(second))
		})
	}
}

// TestTransparentIPTables: the rules for iptables and ip6tables do it as well.
func TestTransparentIPTables(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			w, s := startWalled(t, strict, family, wallKeys{backend: `source = "client"`})
			for place, n := range w.walls() {
				n.load(t, w.rules(t, place, "-iptables"), "iptables-restore")
				n.load(t, w.rules(t, place, "-ip6tables"), "ip6tables-restore")
			}
			w.forget(t)
			w.loadRoutes(t)
			w.start(t)
			w.wantTransparent(t, s, family)
			w.wantApart(t, s, family)
		})
	}
}

// TestTransparentRecipe: each part of the recipe is needed, and what the routes'
// comments say of the kernel's settings is true.
func TestTransparentRecipe(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	w, _ := startWalled(t, strict, "IPv4", wallKeys{timeouts: `connect = "1s"`, backend: `source = "client"`})
	e := w.ends["IPv4"]
	want := func(code int, when string) {
		t.Helper()
		if got := w.greeting(t, e); got != code {
			t.Errorf("%s: greeted with %d, want %d", when, got, code)
		}
	}
	w.loadAll(t)
	w.start(t)
	want(421, "without the routes")
	w.loadRoutes(t)
	want(220, "with the recipe")
	w.sysctl(t, "src_valid_mark", "1")
	want(421, "with src_valid_mark")
	w.sysctl(t, "src_valid_mark", "0")
	for _, filter := range []string{"1", "2", "0"} {
		w.sysctl(t, "rp_filter", filter)
		want(220, "with rp_filter = "+filter)
	}
	rules := w.rules(t, "proxy", "-nftables")
	unmarked := strings.ReplaceAll(rules, " meta mark set 0x2121 accept", " accept")
	if unmarked == rules {
		t.Fatalf("nothing is marked:\n%s", rules)
	}
	w.proxy.load(t, unmarked, "nft", "-f", "-")
	want(421, "without the mark")
	w.proxy.load(t, rules, "nft", "-f", "-")
	want(220, "with the mark")
	w.proxy.load(t, "delete table inet ftproxy_proxy", "nft", "-f", "-")
	want(421, "without any rules")
	page, err := os.ReadFile(filepath.Join("..", "docs", "transparent.md"))
	if err != nil {
		t.Fatal(err)
	}
	small := regexp.MustCompile("(?s)\n   ```\n(   table .*?)   ```").FindSubmatch(page)
	if small == nil {
		t.Fatal("docs/transparent.md has no table for those who have a firewall already")
	}
	w.proxy.load(t, string(small[1]), "nft", "-f", "-")
	want(220, "with nothing but the table of docs/transparent.md")
}

// TestTransparentSmallMTU: a router's word that packets are too large goes to the
// client's address, and has to reach ftproxy.
func TestTransparentSmallMTU(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			w, s := startTransparent(t, strict, family, wallKeys{backend: `source = "client"`})
			ip(t, "-n", w.inside.name, "link", "set", linkServers, "mtu", "1280")
			for _, verb := range clientVerbs[family] {
				t.Run(verb, func(t *testing.T) {
					w.client.do(t, func() { everyWay(t, s, w.ends[family], verb) })
				})
			}
		})
	}
}
