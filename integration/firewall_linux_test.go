package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"ftproxy/rewrite"
)

// The verbs that a client can choose its data connection with, by family.
var clientVerbs = map[string][]string{
	"IPv4": {"PASV", "EPSV", "PORT", "EPRT"},
	"IPv6": {"EPSV", "EPRT"},
}

// A wallMode is a way to tell servers of data connections, and what of it may
// be on the wire.
type wallMode struct {
	data            string
	passive, active bool // what the server is told
	onlyIPv4        bool
}

func (m wallMode) keys() wallKeys { return wallKeys{backend: fmt.Sprintf("data = %q", m.data)} }

var wallModes = []wallMode{
	{"client", true, true, false},
	{"passive", true, false, false},
	{"pasv", true, false, true},
	{"epsv", true, false, false},
	{"active", false, true, false},
	{"port", false, true, true},
	{"eprt", false, true, false},
}

// TestFirewalls is the proof of ftproxy firewall: with exactly the rules that
// it prints on both firewalls and on ftproxy's own machine, and no helper,
// every mode of the clients and of the servers passes in both families, and
// nothing else does.
func TestFirewalls(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, kind := range []serverKind{serverNamed("vsftpd"), serverNamed("proftpd")} {
		for _, mode := range wallModes {
			for _, family := range []string{"IPv4", "IPv6"} {
				if family == "IPv6" && mode.onlyIPv4 {
					continue // The configuration does not take it.
				}
				if kind.name == "proftpd" && (mode.data != "client" && mode.data != "active" || family == "IPv6") {
					continue // One server is enough for the rules; a second for their defaults.
				}
				t.Run(kind.name+"/"+mode.data+"/"+family, func(t *testing.T) {
					t.Parallel()
					w, s := startWalled(t, kind, family, mode.keys())
					w.loadAll(t)
					w.start(t)
					for family, e := range w.ends {
						for _, verb := range clientVerbs[family] {
							t.Run(verb+"-"+family, func(t *testing.T) {
								w.client.do(t, func() { everyWay(t, s, e, verb) })
							})
						}
					}
					w.wantTold(t, s, mode)
					w.wantRefused(t, s)
					w.wantNoHelper(t)
					w.wantApart(t, s, family)
				})
			}
		}
	}
}

// startWalled makes a lab with a server in it and a configuration. Before there
// are rules the two ends reach each other, so that these and not the routes
// keep them apart.
func startWalled(t *testing.T, kind serverKind, family string, keys wallKeys) (*walledLab, *server) {
	t.Helper()
	w := newWalledLab(t)
	e, ok := w.ends[family]
	if !ok {
		lack(t, "no IPv6 on this machine")
	}
	var s *server
	w.server.do(t, func() { s = kind.start(t, e.server, folder(t)) })
	if !w.client.reaches(t, s.addr, time.Minute) {
		t.Fatal("the client does not reach the server before there are rules")
	}
	w.configure(t, s.addr, keys)
	return w, s
}

// wantApart expects that the ends do not reach each other any more.
func (w *walledLab) wantApart(t *testing.T, s *server, family string) {
	t.Helper()
	if w.client.reaches(t, s.addr, time.Second) {
		t.Error("the client reaches the server past ftproxy")
	}
	var l net.Listener
	w.client.do(t, func() {
		var err error
		if l, err = net.Listen("tcp", netip.AddrPortFrom(w.ends[family].client, 0).String()); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	if w.server.reaches(t, l.Addr().(*net.TCPAddr).AddrPort(), time.Second) {
		t.Error("the server reaches the client past ftproxy")
	}
}

// wantTold expects that the server was told of data connections in the ways of
// the mode and in no other.
func (w *walledLab) wantTold(t *testing.T, s *server, mode wallMode) {
	t.Helper()
	told := make(map[string]bool)
	for _, m := range toldVerb.FindAllStringSubmatch(s.log(), -1) {
		told[m[1]] = true
	}
	for verb, wanted := range map[string]bool{"PASV": mode.passive, "EPSV": mode.passive, "PORT": mode.active, "EPRT": mode.active} {
		if told[verb] && !wanted {
			t.Errorf("the server was told %s", verb)
		}
	}
	if mode.passive && !told["PASV"] && !told["EPSV"] || mode.active && !told["PORT"] && !told["EPRT"] {
		t.Errorf("the server was told %v", told)
	}
}

// toldVerb finds the verbs in the logs of vsftpd and of ProFTPD, and not in the
// names of files.
var toldVerb = regexp.MustCompile(`[ "](PASV|EPSV|PORT|EPRT)["\s]`)

// wantRefused expects a clear reply to the verbs that the client's family has
// no use for.
func (w *walledLab) wantRefused(t *testing.T, s *server) {
	t.Helper()
	e, ok := w.ends["IPv6"]
	if !ok {
		return
	}
	r := w.login(t, e, s)
	defer r.Close()
	for command, want := range map[string][]int{"PASV": {425}, "PORT 198,51,100,77,200,1": {501}, "EPRT |1|198.51.100.77|51201|": {522}, "EPSV 1": {522}} {
		if code, text, err := r.command(command); !slices.Contains(want, code) {
			t.Errorf("%s from an IPv6 client: %d %s, %v; want %v", command, code, text, err, want)
		}
	}
}

// login begins a session from the client's namespace.
func (w *walledLab) login(t *testing.T, e labEnds, s *server) (r *raw) {
	t.Helper()
	w.client.do(t, func() {
		var err error
		if r, _, err = dialRaw(e.client, netip.AddrPortFrom(e.outside, 21), 2*time.Minute); err != nil {
			t.Fatal(err)
		}
	})
	if err := r.login(s.user, s.pass); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFirewallsHide: a scan of all ports finds the control port and the passive
// range from the clients, and from the servers the range that is theirs.
func TestFirewallsHide(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, mode := range wallModes {
		if mode.data != "client" && mode.data != "passive" {
			continue
		}
		for _, family := range []string{"IPv4", "IPv6"} {
			t.Run(mode.data+"/"+family, func(t *testing.T) {
				t.Parallel()
				w, _ := startWalled(t, serverNamed("vsftpd"), family, mode.keys())
				w.loadAll(t)
				w.start(t)
				e := w.ends[family]
				outside := append([]uint16{21}, portsOf(wallPassive)...)
				var inside []uint16
				if mode.active {
					inside = portsOf(wallData)
				}
				w.wantFound(t, w.client, linkOutside, e.client, e.outside, outside)
				w.wantFound(t, w.server, linkInside, e.server, e.inside, inside)
				if mode.active { // Once is enough: nothing is at the other side's address.
					w.wantFound(t, w.client, linkOutside, e.client, e.inside, nil)
					w.wantFound(t, w.server, linkInside, e.server, e.outside, nil)
				}
			})
		}
	}
}

func portsOf(r portRange) (ports []uint16) {
	for port := r.first; port <= r.last; port++ {
		ports = append(ports, port)
	}
	return ports
}

// neighbour is the firewall's address on the link of an end.
func neighbour(end netip.Addr) netip.Addr {
	p := netip.PrefixFrom(end, 24)
	if end.Is6() {
		p = netip.PrefixFrom(end, 64)
	}
	return p.Masked().Addr().Next()
}

// wantFound scans an address of ftproxy from one end and expects that exactly
// the ports of want are reached: the control port is open, and a data port is
// closed, because nobody waits for a connection.
func (w *walledLab) wantFound(t *testing.T, end *netns, link string, from, to netip.Addr, want []uint16) {
	t.Helper()
	w.watch(t, link)
	var answered []uint16
	end.do(t, func() {
		var err error
		if answered, err = scan(to, neighbour(from)); err != nil {
			t.Fatal(err)
		}
		for _, port := range want {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, port).String(), time.Minute)
			if open := err == nil; open {
				c.Close()
				if port != 21 {
					t.Errorf("port %d of %s is open", port, to)
				}
			} else if port == 21 || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("port %d of %s: %v", port, to, err)
			}
		}
	})
	for _, port := range answered {
		if !slices.Contains(want, port) {
			t.Errorf("port %d of %s answers", port, to)
		}
	}
	if seen := w.seen(t, link); !slices.Equal(seen, want) {
		t.Errorf("%d ports of %s are reached: %v, want %v", len(seen), to, seen[:min(len(seen), 30)], want)
	}
}

// impatient is a vsftpd that does not wait a minute for a data connection that
// a firewall stops. Until it has answered, so does ftproxy: some servers listen
// late. Only where nothing may pass, because a slow machine is no firewall.
const impatient = "accept_timeout=1\nconnect_timeout=1\n"

// patient is an ftproxy that never gives up itself: a reply is due to a refusal.
const patient = `data_connect = "1h"`

// TestFirewallRefusals: what the rules do not permit is refused by a reply, at
// once or as soon as the server has given up.
func TestFirewallRefusals(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	tests := []struct {
		name    string
		keys    wallKeys // when the rules are printed
		then    wallKeys // and when ftproxy runs; the same if there are none
		args    []string
		at      string // the only place that they are for; all if ""
		vsftpd  string
		refused []string
		passed  []string
	}{
		// Clients in active mode are not called back.
		{
			name: "no active clients", keys: wallKeys{timeouts: patient, backend: `data = "client"`}, args: []string{"-no-active-clients"},
			refused: []string{"PORT", "EPRT"}, passed: []string{"PASV", "EPSV"},
		},
		{
			name: "no active clients, passive servers", keys: wallKeys{timeouts: patient, backend: `data = "passive"`}, args: []string{"-no-active-clients"},
			refused: []string{"PORT", "EPRT"}, passed: []string{"PASV", "EPSV"},
		},
		{
			name: "no active clients, says the firewall", keys: wallKeys{timeouts: patient}, args: []string{"-no-active-clients"}, at: "outside",
			refused: []string{"PORT", "EPRT"}, passed: []string{"PASV", "EPSV"},
		},
		// The servers' passive ports are confined, by the right ports and by wrong ones.
		{
			name: "server ports", keys: wallKeys{backend: `data = "passive"`}, args: []string{"-server-ports", "40000-40009"},
			vsftpd: "pasv_min_port=40000\npasv_max_port=40009", passed: []string{"PASV", "EPSV", "PORT", "EPRT"},
		},
		{
			name: "wrong server ports", keys: wallKeys{timeouts: patient, backend: `data = "passive"`}, args: []string{"-server-ports", "40000-40009"},
			vsftpd: impatient + "pasv_min_port=40010\npasv_max_port=40019", refused: []string{"PASV", "EPSV", "PORT", "EPRT"},
		},
		{
			name: "wrong server ports, says the firewall", keys: wallKeys{timeouts: patient, backend: `data = "passive"`},
			args: []string{"-server-ports", "40000-40009"}, at: "inside",
			vsftpd: impatient + "pasv_min_port=40010\npasv_max_port=40019", refused: []string{"PASV", "EPSV", "PORT", "EPRT"},
		},
		// Active data comes from the source ports that the rules name, and from no other.
		{
			name: "source ports", keys: wallKeys{frontend: `active_source_ports = ["20", "40000-40009"]`},
			passed: []string{"PORT", "EPRT", "PASV", "PORT"},
		},
		{
			name: "wrong source ports", keys: wallKeys{frontend: `active_source_ports = "20"`}, then: wallKeys{timeouts: patient, frontend: `active_source_ports = "40000-40009"`},
			refused: []string{"PORT", "EPRT"}, passed: []string{"PASV"},
		},
		// Rules that were printed for another configuration.
		{
			name: "rules of passive, now active", keys: wallKeys{backend: `data = "passive"`}, then: wallKeys{backend: `data = "active"`}, vsftpd: impatient,
			refused: []string{"PASV", "EPSV", "PORT", "EPRT"},
		},
		{
			name: "rules of active, now passive", keys: wallKeys{backend: `data = "active"`}, then: wallKeys{timeouts: patient, backend: `data = "passive"`}, vsftpd: impatient,
			refused: []string{"PASV", "EPSV", "PORT", "EPRT"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kind := serverKind{name: "vsftpd", start: func(t *testing.T, addr netip.Addr, root string) *server {
				return startVsftpdWith(t, addr, root, tt.vsftpd, serverTLS{})
			}}
			w, s := startWalled(t, kind, "IPv4", tt.keys)
			if tt.at == "" {
				w.loadAll(t, tt.args...)
			} else {
				w.loadAll(t)
				w.walls()[tt.at].load(t, w.rules(t, tt.at, append([]string{"-nftables"}, tt.args...)...), "nft", "-f", "-")
			}
			if tt.then != (wallKeys{}) {
				w.configure(t, s.addr, tt.then)
			}
			w.start(t)
			write(t, filepath.Join(s.root, "file"), "content")
			for _, verb := range slices.Concat(tt.passed, tt.refused) {
				code, text, got := w.fetch(t, s, verb)
				if slices.Contains(tt.passed, verb) {
					if code != 226 || got != "content" {
						t.Errorf("%s: %d %s, %q; want the file", verb, code, text, got)
					}
				} else if code != 425 && code != 426 || got != "" {
					t.Errorf("%s: %d %s, %q; want 425 or 426 and nothing", verb, code, text, got)
				}
			}
			w.wantNoHelper(t)
		})
	}
}

// fetch downloads "file" over IPv4 and returns the last reply: the final one,
// or the one that refuses.
func (w *walledLab) fetch(t *testing.T, s *server, verb string) (code int, text, got string) {
	t.Helper()
	e := w.ends["IPv4"]
	r := w.login(t, e, s)
	defer r.Close()
	say := func(command string) (ok bool) {
		t.Helper()
		var err error
		if code, text, err = r.command(command); err != nil && code == 0 {
			t.Fatalf("%s: %v", command, err)
		}
		return code < 400
	}
	var l net.Listener
	var c net.Conn
	w.client.do(t, func() {
		var err error
		switch verb {
		case "PASV", "EPSV":
			if !say(verb) {
				return
			}
			var to netip.AddrPort
			if verb == "PASV" {
				to, err = rewrite.ParsePASV(text)
			} else {
				var port uint16
				port, err = rewrite.ParseEPSV(text)
				to = netip.AddrPortFrom(e.outside, port)
			}
			if err != nil {
				t.Fatal(err)
			}
			if c, err = net.DialTimeout("tcp", to.String(), time.Minute); err != nil {
				t.Fatal(err)
			}
		default:
			if l, err = net.Listen("tcp", netip.AddrPortFrom(e.client, 0).String()); err != nil {
				t.Fatal(err)
			}
		}
	})
	if l != nil {
		defer l.Close()
		at := l.Addr().(*net.TCPAddr).AddrPort()
		arg := rewrite.FormatPORT(at)
		if verb == "EPRT" {
			arg = rewrite.FormatEPRT(at)
		}
		if !say(verb + " " + arg) {
			return code, text, ""
		}
	} else if c == nil {
		return code, text, ""
	}
	if !say("RETR file") {
		if c != nil {
			c.Close()
		}
		return code, text, ""
	}
	arrived := make(chan []byte, 1)
	go func() { arrived <- receive(l, c) }()
	var err error
	if code, text, err = r.reply(); err != nil && code == 0 {
		t.Fatal(err)
	}
	if l != nil && code != 226 {
		l.Close() // Nobody has come.
	}
	return code, text, string(<-arrived)
}

// receive reads all of a data connection: of c, or of the next that l accepts.
func receive(l net.Listener, c net.Conn) []byte {
	if c == nil {
		var err error
		if c, err = l.Accept(); err != nil {
			return nil
		}
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	b, _ := io.ReadAll(c)
	return b
}

// TestFirewallIPTables: the rules for iptables and ip6tables load, and let all
// modes of both families through.
func TestFirewallIPTables(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, family := range []string{"IPv4", "IPv6"} { // of the server
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			w, s := startWalled(t, serverNamed("vsftpd"), family, wallModes[0].keys())
			for place, n := range w.walls() {
				n.load(t, w.rules(t, place, "-iptables"), "iptables-restore")
				n.load(t, w.rules(t, place, "-ip6tables"), "ip6tables-restore")
			}
			w.forget(t)
			w.start(t)
			for family, e := range w.ends {
				for _, verb := range clientVerbs[family] {
					t.Run(verb+"-"+family, func(t *testing.T) {
						w.client.do(t, func() { everyWay(t, s, e, verb) })
					})
				}
			}
			w.wantApart(t, s, family)
			e := w.ends[family]
			w.wantFound(t, w.client, linkOutside, e.client, e.outside, append([]uint16{21}, portsOf(wallPassive)...))
			w.wantFound(t, w.server, linkInside, e.server, e.inside, portsOf(wallData))
		})
	}
}
