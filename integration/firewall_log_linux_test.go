package integration

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftproxy/internal/ftptest"
	"ftproxy/rewrite"
)

// TestFirewallLog: a data connection that a firewall stops, or an address that is wrong, has
// one line in the log, with the address, the port and what to check. So has a vsftpd that
// wants TLS, and one that has none.
func TestFirewallLog(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	const ownPorts = "pasv_min_port=40010\npasv_max_port=40019"
	stop := func(what string) string {
		return "table inet stop { chain f { type filter hook forward priority -10; " + what + "; }\n}\n"
	}
	own := ftptest.Certificate(t, "10.20.30.50")
	for _, tt := range []struct {
		name       string
		keys       wallKeys
		at, rules  string // where what is stopped
		vsftpd     string
		verb       string // the client's; "unanswered": PASV, and its data connection fails
		message    string
		key, begin string // a field that has the address and the port begins so
		check      string // and that is in what to check
	}{
		{name: "outside drops passive_ports", at: "outside", rules: stop("tcp dport 30000-30009 drop"), verb: "unanswered",
			message: "the client did not connect to its data port", key: "told", begin: "203.0.113.10:3000", check: "passive_ports (30000-30009)"},
		{name: "wrong public_address", keys: wallKeys{frontend: `public_address = "203.0.113.99"`}, verb: "unanswered",
			message: "the client did not connect to its data port", key: "told", begin: "203.0.113.99:3000", check: "public_address (203.0.113.99)"},
		{name: "inside drops the server's passive ports", keys: wallKeys{backend: `data = "passive"`}, at: "inside", rules: stop("tcp dport 40010-40019 drop"),
			vsftpd: "accept_timeout=4\n" + ownPorts, verb: "PASV",
			message: "the server's data port is unreachable", key: "server_data", begin: "10.20.30.50:4001", check: "passive ports"},
		{name: "inside rejects them", keys: wallKeys{backend: `data = "passive"`}, at: "inside",
			rules:  stop("tcp dport 40010-40019 reject with tcp reset"),
			vsftpd: impatient + ownPorts, verb: "PASV",
			message: "the server's data port is unreachable", key: "server_data", begin: "10.20.30.50:4001", check: "passive ports"},
		{name: "inside drops data_ports", keys: wallKeys{backend: `data = "active"`}, at: "inside", rules: stop("tcp dport 31000-31001 drop"),
			vsftpd: impatient, verb: "PASV",
			message: "the server did not connect to its data port", key: "told", begin: "192.0.2.40:3100", check: "data_ports (31000-31001)"},
		{name: "our PORT to the client fails", keys: wallKeys{timeouts: `data_connect = "2s"`, backend: `data = "passive"`}, at: "outside",
			rules: stop("ip daddr 198.51.100.77 ct state new drop"), verb: "PORT",
			message: "the client's data port is unreachable", key: "client_data", begin: "198.51.100.77:", check: "firewall or NAT in front of the client"},
		{name: "PORT with a private address", verb: "PORT 192,168,1,20,19,137",
			message: "command refused", key: "error", begin: "504 PORT must name your own address.: foreign address 192.168.1.20:5001", check: "passive mode"},
		{name: "server that wants TLS", vsftpd: serverTLS{file: own.File}.vsftpd() + "force_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n", verb: "login",
			message: "login failed", key: "server", begin: "10.20.30.50:", check: `mode = "explicit" in [backend.legacy.tls]`},
		{name: "server without TLS", keys: wallKeys{backend: fmt.Sprintf("tls = { mode = \"explicit\", ca = %q }", own.File)}, verb: "login",
			message: "server not usable", key: "server", begin: "10.20.30.50:", check: `mode = "off" in [backend.legacy.tls]`},
		{name: "server's certificate is of another name", keys: wallKeys{backend: fmt.Sprintf("tls = { mode = \"explicit\", ca = %q, server_name = \"ftp.example.com\" }", own.File)},
			vsftpd: serverTLS{file: own.File}.vsftpd(), verb: "login",
			message: "server not usable", key: "server", begin: "10.20.30.50:", check: `server_name or ca in [backend.legacy.tls]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kind := serverKind{name: "vsftpd", start: func(t *testing.T, addr netip.Addr, root string) *server {
				return startVsftpdWith(t, addr, root, tt.vsftpd, serverTLS{})
			}}
			w, s := startWalled(t, kind, "IPv4", tt.keys)
			if tt.rules != "" {
				w.walls()[tt.at].load(t, tt.rules, "nft", "-f", "-")
			}
			p := w.start(t)
			write(t, filepath.Join(s.root, "file"), "content")
			switch verb, argument, _ := strings.Cut(tt.verb, " "); {
			case tt.verb == "login":
				w.client.do(t, func() {
					if r, _, err := dialRaw(w.ends["IPv4"].client, netip.AddrPortFrom(w.ends["IPv4"].outside, 21), time.Minute); err == nil {
						_ = r.login(s.user, s.pass)
						r.Close()
					}
				})
			case tt.verb == "unanswered":
				w.reachInVain(t, s)
			case argument != "":
				r := w.login(t, w.ends["IPv4"], s)
				_, _, _ = r.command(tt.verb)
				r.Close()
			default:
				if code, text, _ := w.fetch(t, s, verb); code < 400 {
					t.Errorf("%s: %d %s", verb, code, text)
				}
			}
			wantOneWarning(t, p, tt.message, tt.key, tt.begin, tt.check)
		})
	}
}

// reachInVain is a client whose data connection does not come about, and that leaves.
func (w *walledLab) reachInVain(t *testing.T, s *server) {
	t.Helper()
	r := w.login(t, w.ends["IPv4"], s)
	defer r.Close()
	_, text, err := r.command("PASV")
	if err != nil {
		t.Fatal(err)
	}
	to, err := rewrite.ParsePASV(text)
	if err != nil {
		t.Fatal(err)
	}
	w.client.do(t, func() {
		if c, err := net.DialTimeout("tcp", to.String(), 2*time.Second); err == nil {
			c.Close()
			t.Errorf("%s answers", to)
		}
	})
}
