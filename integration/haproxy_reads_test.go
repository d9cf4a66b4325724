package integration

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// TestHAProxyReadsHeaders: somebody else's parser reads what ftproxy sends to servers.
// HAProxy takes ftproxy's headers, says in its log what they tell, and connects to an
// FTP server that knows none, on control and data.
func TestHAProxyReadsHeaders(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			// One port, and HAProxy is told of it: by itself it would connect to the port
			// that the header names, which is that of the control connection.
			port := p.passive.first
			s := startVsftpdWith(t, p.server, folder(t), fmt.Sprintf("pasv_min_port=%d\npasv_max_port=%d", port, port), serverTLS{})
			write(t, filepath.Join(s.root, "small"), smallText)
			h := startHeaderReader(t, p, s.addr, port)
			c := configure(t, p, h.addr)
			c.listen = c.listen[:1]
			c.frontend = fmt.Sprintf("proxy_protocol = true\ntrusted_proxies = [\"%s\"]\ndata_proxy_protocol = false\npassive_bind = \"%s\"\npublic_address = \"%s\"\n", p.client, p.proxy, p.proxy)
			c.backend = fmt.Sprintf("data = \"passive\"\nsend_proxy = %q\nsend_proxy_data = true\n", version)
			ftproxy := startProxy(t, c)
			// The client comes through a proxy of its own, which is the test: its
			// address is another than that of any connection here.
			from := netip.AddrPortFrom(p.client, 40000)
			local := netip.MustParseAddrPort("203.0.113.9:21")
			r, err := dialNamed(p.client, ftproxy.addr4, from, local)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := r.login(s.user, s.pass); err != nil {
				t.Fatal(err)
			}
			if err := fetchSmall(r); err != nil {
				t.Fatal(err)
			}
			if _, err := r.expect(221, "QUIT"); err != nil {
				t.Fatal(err)
			}
			more := "unique= authority="
			if version == "v2" {
				more = "unique=by-the-test authority=ftp.example.com"
			}
			for _, kind := range []string{"control", "data"} {
				want := fmt.Sprintf("%s from=%s to=%s %s", kind, from, local, more)
				waitFor(t, "HAProxy logs "+want, patience, func() bool {
					return strings.Contains(strings.ReplaceAll(h.out.String(), "=-", "="), want)
				})
			}
		})
	}
}

// startHeaderReader starts a HAProxy in front of a server, which wants headers.
func startHeaderReader(t *testing.T, p place, to netip.AddrPort, data uint16) *haproxy {
	t.Helper()
	program := unpacked(t, "haproxy", "usr/sbin/haproxy")
	dir, at := shortFolder(t), haproxyAddr(p)
	h := &haproxy{addr: netip.AddrPortFrom(at, freePort(t, at)), socket: filepath.Join(dir, "socket")}
	const tells = "from=%ci:%cp to=%[dst]:%[dst_port] unique=%[fc_pp_unique_id] authority=%[fc_pp_authority]"
	conf := filepath.Join(dir, "haproxy.cfg")
	write(t, conf, fmt.Sprintf(`global
	maxconn 100
	stats socket %[1]s mode 600 level admin
	log stdout format raw local0

defaults
	mode tcp
	log global
	timeout connect 1m
	timeout client 10m
	timeout server 10m

listen control
	bind %[2]s accept-proxy
	log-format "control %[6]s"
	server ftp %[3]s

listen data
	bind %[4]s:%[5]d accept-proxy
	log-format "data %[6]s"
	server ftp %[7]s:%[5]d
`, h.socket, h.addr, to, at, data, tells, to.Addr()))
	h.run(t, program, conf)
	return h
}

// dialNamed connects with a header that names the client, the address that it
// reached, and more.
func dialNamed(bind netip.Addr, to, client, local netip.AddrPort) (*raw, error) {
	c, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(bind, 0)), Timeout: patience}).Dial("tcp", to.String())
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(3 * patience))
	header := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(client), net.TCPAddrFromAddrPort(local))
	if err := header.SetTLVs([]proxyproto.TLV{
		{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte("by-the-test")},
		{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("ftp.example.com")},
	}); err != nil {
		return nil, err
	}
	text, err := header.Format()
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(text); err != nil {
		return nil, err
	}
	r, _, err := beginRaw(c, bind)
	return r, err
}
