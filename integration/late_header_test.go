package integration

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"
)

// startLateBalancer stands between clients and ftproxy as AWS Network Load Balancers are
// reported to do: its header comes with the client's first bytes, not before. To data
// ports it connects from the client's own address, without a header.
func startLateBalancer(t *testing.T, p place, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	at := haproxyAddr(p)
	accept := func(port uint16, balance func(net.Conn)) net.Listener {
		l, err := net.Listen("tcp", netip.AddrPortFrom(at, port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go balance(conn)
			}
		}()
		return l
	}
	for port := p.passive.first; port <= p.passive.last; port++ {
		accept(port, func(conn net.Conn) { balanceData(conn, p.client, netip.AddrPortFrom(to.Addr(), port)) })
	}
	l := accept(0, func(conn net.Conn) { balanceLate(conn, at, to) })
	return netip.MustParseAddrPort(l.Addr().String())
}

func balanceData(conn net.Conn, client netip.Addr, to netip.AddrPort) {
	defer conn.Close()
	onward, err := dialFrom(context.Background(), client, to)
	if err != nil {
		return
	}
	defer onward.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(conn, onward)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(onward, conn)
	_ = onward.(*net.TCPConn).CloseWrite()
	<-ended
}

func balanceLate(conn net.Conn, from netip.Addr, to netip.AddrPort) {
	defer conn.Close()
	onward, err := dialFrom(context.Background(), from, to)
	if err != nil {
		return
	}
	defer onward.Close()
	go func() {
		_, _ = io.Copy(conn, onward)
		conn.Close()
	}()
	first := make([]byte, 4096)
	n, err := conn.Read(first)
	if err != nil {
		return
	}
	header, err := proxyproto.HeaderProxyFromAddrs(2, conn.RemoteAddr(), conn.LocalAddr()).Format()
	if err != nil {
		return
	}
	if _, err := onward.Write(append(header, first[:n]...)); err == nil {
		_, _ = io.Copy(onward, conn)
	}
}

// TestHeaderAfterTheGreeting: real clients behind a load balancer that sends its header
// with the client's first bytes.
func TestHeaderAfterTheGreeting(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	kind := serverNamed("vsftpd")
	r := &rig{place: p, server: kind.start(t, p.server, folder(t))}
	r.server.kind = kind
	c := behindHAProxy(t, p, r.server.addr)
	c.frontend += "proxy_header_after_greeting = true\nbanner = \"Files.\"\ndata_proxy_protocol = false\n"
	r.proxy = startProxy(t, c)
	to := r.target(t, false)
	to.addr = startLateBalancer(t, p, r.proxy.addr4)
	for _, cl := range []struct {
		name   string
		client client
		modes  []mode
	}{
		{"curl", curl{command(t, "curl")}, []mode{{"PASV", false}, {"PORT", false}}},
		{"lftp", lftp{command(t, "lftp")}, []mode{{"PASV", false}}},
		{"ftplib", ftplib{python(t)}, []mode{{"PASV", false}, {"PORT", false}}},
	} {
		for _, m := range cl.modes {
			t.Run(cl.name+"-"+m.String(), func(t *testing.T) {
				b := newBench(t, r, to, m, cl.client, strings.ReplaceAll(t.Name(), "/", "-"))
				b.lists()
				b.downloads()
				b.uploads()
			})
		}
	}
	wantClients(t, r.proxy, p)
}
