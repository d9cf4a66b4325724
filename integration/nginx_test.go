package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNginxHeaders: what nginx writes where the client's address and the one that was
// reached are of different families. It names the client's family, so the other address
// does not fit; ftproxy takes the addresses for what they are.
func TestNginxHeaders(t *testing.T) {
	throughProxy(t)
	if !haveIPv6() {
		lack(t, "no IPv6 here")
	}
	p := newPlace(t)
	s := startVsftpd(t, p.server, folder(t))
	c := behindHAProxy(t, p, s.addr)
	c.frontend += "data_proxy_protocol = false\npublic_address = \"203.0.113.9\"\n"
	ftproxy := startProxy(t, c)
	behind, first := freePort(t, netip.IPv6Unspecified()), freePort(t, netip.IPv6Unspecified())
	startNginx(t, p, ftproxy.addr4, behind, first)

	for _, tt := range []struct{ name, to, header, client, local string }{
		{"IPv4 on a socket for both families", "127.0.0.1", "", "127.0.0.1:", "127.0.0.1:"},
		{"an IPv6 client, reached by IPv4", haproxyAddr(p).String(), "PROXY TCP6 2001:db8::7 2001:db8::9 40000 21\r\n", "[2001:db8::7]:40000", haproxyAddr(p).String() + ":"},
		{"an IPv4 client, reached by IPv6", "::1", "PROXY TCP4 198.51.100.7 203.0.113.9 40000 21\r\n", "198.51.100.7:40000", "[::1]:"},
	} {
		at := behind
		if tt.header == "" {
			at = first
		}
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(tt.to, fmt.Sprint(at)), patience)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write([]byte(tt.header)); err != nil {
			t.Fatal(err)
		}
		r, _, err := beginRaw(conn, p.client)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err := r.login(s.user, s.pass); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		r.Close()
		want := fmt.Sprintf(`"local":"%s`, tt.local)
		waitFor(t, tt.name+": the session of "+tt.client, patience, func() bool {
			for line := range strings.Lines(ftproxy.out.String()) {
				if strings.Contains(line, `"session started"`) && strings.Contains(line, `"client":"`+tt.client) && strings.Contains(line, want) {
					return true
				}
			}
			return false
		})
	}
}

// startNginx starts one that is behind another proxy at one port, by a socket for each
// family, and the first at another, by one socket for both.
func startNginx(t *testing.T, p place, to netip.AddrPort, behind, first uint16) {
	t.Helper()
	program := unpacked(t, "nginx", "usr/sbin/nginx")
	module := unpacked(t, "libnginx-mod-stream", "usr/lib/nginx/modules/ngx_stream_module.so")
	dir, at := shortFolder(t), haproxyAddr(p)
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, fmt.Sprintf(`load_module %[1]s;
pid %[2]s/pid;
error_log stderr;
daemon off;
master_process off;
events { worker_connections 64; }
stream {
	proxy_bind %[3]s;
	proxy_protocol on;
	server {
		listen %[3]s:%[4]d proxy_protocol;
		listen [::1]:%[4]d proxy_protocol;
		set_real_ip_from %[3]s;
		set_real_ip_from 127.0.0.0/8;
		set_real_ip_from ::1;
		proxy_pass %[6]s;
	}
	server {
		listen [::]:%[5]d ipv6only=off;
		proxy_pass %[6]s;
	}
}
`, module, dir, at, behind, first, to))
	nginx := start(t, "nginx", exec.Command(program, "-e", "stderr", "-p", dir, "-c", conf))
	waitFor(t, "nginx listens", patience, func() bool {
		if !nginx.running() {
			t.Fatalf("nginx ended: %v\n%s", nginx.err, nginx.out)
		}
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), first).String(), patience)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}
