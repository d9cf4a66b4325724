package ftptest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	proxyOut  = netip.MustParseAddr("203.0.113.9")
	proxyIn   = netip.MustParseAddr("10.0.0.2")
	proxyOut6 = netip.MustParseAddr("2001:db8::9")
	someone   = netip.MustParseAddr("198.51.100.7")
	someone6  = netip.MustParseAddr("2001:db8:1::7")
)

// twoHosts returns a proxy with addresses inside and outside, and a client.
func twoHosts() (proxy, client *Host) {
	n := NewNetwork()
	return n.Host(proxyOut, proxyIn, proxyOut6), n.Host(someone, someone6)
}

func listen(t *testing.T, h *Host, addr string) *Listener {
	t.Helper()
	l, err := h.Listen(netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatalf("Listen(%s): %v", addr, err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*Listener)
}

// connect returns the dialled and the accepted end of a connection.
func connect(t *testing.T, from, to *Host) (client, server *Conn) {
	t.Helper()
	l, err := to.Listen(netip.AddrPortFrom(to.Addrs()[0], 0))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := from.Dial(t.Context(), netip.AddrPort{}, netip.MustParseAddrPort(l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*Conn), s.(*Conn)
}

func TestListen(t *testing.T) {
	tests := []struct {
		name, first, second string
		want                error // of the second
	}{
		{"same", "203.0.113.9:21", "203.0.113.9:21", syscall.EADDRINUSE},
		{"other port", "203.0.113.9:21", "203.0.113.9:22", nil},
		{"other address", "203.0.113.9:21", "10.0.0.2:21", nil},
		{"any after one", "203.0.113.9:21", "0.0.0.0:21", syscall.EADDRINUSE},
		{"one after any", "0.0.0.0:21", "10.0.0.2:21", syscall.EADDRINUSE},
		{"any of both families", "0.0.0.0:21", "[::]:21", nil},
		{"mapped address", "203.0.113.9:21", "[::ffff:203.0.113.9]:21", syscall.EADDRINUSE},
		{"foreign address", "203.0.113.9:21", "203.0.113.10:21", syscall.EADDRNOTAVAIL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proxy, _ := twoHosts()
			first := listen(t, proxy, tt.first)
			l, err := proxy.Listen(netip.MustParseAddrPort(tt.second))
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err == nil {
				l.Close()
			}
			first.Close()
			l, err = proxy.Listen(netip.MustParseAddrPort(tt.first))
			if err != nil {
				t.Fatalf("after Close: %v", err)
			}
			l.Close()
			if open := proxy.Open(); len(open) > 0 {
				t.Errorf("left open: %v", open)
			}
		})
	}
}

func TestListenPicksFreePorts(t *testing.T) {
	proxy, _ := twoHosts()
	a := listen(t, proxy, "203.0.113.9:0").Addr().(*net.TCPAddr)
	b := listen(t, proxy, "0.0.0.0:0").Addr().(*net.TCPAddr)
	if a.Port < firstEphemeral || b.Port < firstEphemeral || a.Port == b.Port {
		t.Errorf("ports %d and %d", a.Port, b.Port)
	}
}

func TestDial(t *testing.T) {
	proxy, client := twoHosts()
	listen(t, proxy, "203.0.113.9:21")
	listen(t, proxy, "[::]:21")
	tests := []struct {
		name, local, remote string
		want                error
		from                netip.Addr
	}{
		{"IPv4", "", "203.0.113.9:21", nil, someone},
		{"IPv4 mapped", "", "[::ffff:203.0.113.9]:21", nil, someone},
		{"IPv6", "", "[2001:db8::9]:21", nil, someone6},
		{"own address", "198.51.100.7", "203.0.113.9:21", nil, someone},
		{"nobody listens", "", "203.0.113.9:22", syscall.ECONNREFUSED, someone},
		{"nobody listens there", "", "10.0.0.2:21", syscall.ECONNREFUSED, someone},
		{"no such host", "", "192.0.2.1:21", syscall.EHOSTUNREACH, someone},
		{"foreign address", "198.51.100.8", "203.0.113.9:21", syscall.EADDRNOTAVAIL, someone},
		{"other family", "2001:db8:1::7", "203.0.113.9:21", syscall.EADDRNOTAVAIL, someone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var local netip.AddrPort
			if tt.local != "" {
				local = netip.AddrPortFrom(netip.MustParseAddr(tt.local), 0)
			}
			c, err := client.Dial(t.Context(), local, netip.MustParseAddrPort(tt.remote))
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			defer c.Close()
			if got := c.LocalAddr().(*net.TCPAddr).AddrPort(); got.Addr() != tt.from || got.Port() == 0 {
				t.Errorf("local address %v, want %v", got, tt.from)
			}
			if got, want := c.RemoteAddr().(*net.TCPAddr).AddrPort(), unmap(netip.MustParseAddrPort(tt.remote)); got != want {
				t.Errorf("remote address %v, want %v", got, want)
			}
		})
	}
}

func TestDialPicksSource(t *testing.T) {
	n := NewNetwork()
	proxy := n.Host(proxyOut, proxyIn, proxyOut6, netip.MustParseAddr("fd00::2"))
	for remote, want := range map[string]string{
		"10.0.0.5":      "10.0.0.2",
		"198.51.100.7":  "203.0.113.9",
		"fd00::5":       "fd00::2",
		"2001:db8:1::7": "2001:db8::9",
		"203.0.113.9":   "203.0.113.9",
	} {
		a := netip.MustParseAddr(remote)
		h := n.Host(a)
		l := listen(t, h, netip.AddrPortFrom(a, 21).String())
		c, err := proxy.Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(a, 21))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().String(); got != want {
			t.Errorf("dial to %s comes from %s, want %s", remote, got, want)
		}
		c.Close()
		l.Close()
	}
}

func TestDialWithoutFamily(t *testing.T) {
	n := NewNetwork()
	c, err := n.Host(someone).Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(proxyOut6, 21))
	if !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("Dial = %v, %v", c, err)
	}
}

func TestAcceptKeepsOrderAndAddresses(t *testing.T) {
	proxy, client := twoHosts()
	l := listen(t, proxy, "0.0.0.0:21")
	for _, addr := range []netip.Addr{proxyOut, proxyIn} {
		c, err := client.Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(addr, 21))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if got := l.pending(); got != 2 {
		t.Errorf("%d pending, want 2", got)
	}
	for _, addr := range []netip.Addr{proxyOut, proxyIn} {
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := s.LocalAddr().String(); got != netip.AddrPortFrom(addr, 21).String() {
			t.Errorf("accepted at %s, want %v", got, addr)
		}
	}
	if c := l.tryAccept(); c != nil {
		t.Errorf("a third connection: %v", c)
	}
	if open := proxy.Open(); len(open) != 3 {
		t.Errorf("open: %q, want a listener and two connections", open)
	}
}

func TestDropDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proxy, client := twoHosts()
		listen(t, proxy, "203.0.113.9:21")
		proxy.DropDials(true)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := client.Dial(ctx, netip.AddrPort{}, netip.AddrPortFrom(proxyOut, 21))
		var timeout net.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("error %v, want a timeout", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v, want 5s", took)
		}
		proxy.DropDials(false)
		c, err := client.Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(proxyOut, 21))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, err := client.Dial(ctx, netip.AddrPort{}, netip.AddrPortFrom(proxyOut, 21)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with an ended context: %v", err)
		}
	})
}

func TestResolve(t *testing.T) {
	n := NewNetwork()
	h := n.Host(someone)
	n.Name("FTP.internal", proxyOut, proxyOut6)
	got, err := h.Resolve(t.Context(), "ftp.Internal")
	if err != nil || len(got) != 2 || got[0] != proxyOut || got[1] != proxyOut6 {
		t.Errorf("Resolve = %v, %v", got, err)
	}
	if got, err := h.Resolve(t.Context(), "192.0.2.1"); err != nil || len(got) != 1 || got[0].String() != "192.0.2.1" {
		t.Errorf("Resolve of an address = %v, %v", got, err)
	}
	n.Name("ftp.internal")
	var missing *net.DNSError
	if _, err := h.Resolve(t.Context(), "ftp.internal"); !errors.As(err, &missing) || !missing.IsNotFound {
		t.Errorf("error %v, want not found", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Resolve(ctx, "192.0.2.1"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

func TestListenerDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proxy, client := twoHosts()
		l := listen(t, proxy, "203.0.113.9:21")
		began := time.Now()
		l.SetDeadline(began.Add(time.Second))
		if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Accept: %v after %v, want a timeout after 1s", err, time.Since(began))
		}
		l.SetDeadline(time.Time{})
		c, err := client.Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(proxyOut, 21))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			t.Fatalf("Accept without deadline: %v", err)
		}
		s.Close()
	})
}

func TestListenerCloseWakesAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proxy, _ := twoHosts()
		l := listen(t, proxy, "203.0.113.9:21")
		accepted := make(chan error)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		synctest.Wait()
		l.Close()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v, want net.ErrClosed", err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v, want net.ErrClosed", err)
		}
	})
}

func TestListenerCloseResetsUnaccepted(t *testing.T) {
	proxy, client := twoHosts()
	l := listen(t, proxy, "203.0.113.9:21")
	c, err := client.Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(proxyOut, 21))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read: %v, want a reset", err)
	}
	if open := proxy.Open(); len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
}

// A host on the way may stand in for another: its connections have the other's
// address, and those to its listener never reach the other.
func TestForeign(t *testing.T) {
	n := NewNetwork()
	proxy, client := n.Host(proxyOut, proxyIn), n.Host(someone)
	inside := netip.MustParseAddr("10.0.0.5")
	server := n.Host(inside)
	l, err := server.Listen(netip.AddrPortFrom(inside, 21))
	if err != nil {
		t.Fatal(err)
	}
	c, err := proxy.DialForeign(t.Context(), netip.AddrPortFrom(someone, 0), netip.AddrPortFrom(inside, 21))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != someone {
		t.Errorf("the server sees %s, want %s", got, someone)
	}
	data := netip.AddrPortFrom(someone, 31000)
	if _, err := proxy.Listen(data); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("an ordinary listener on a foreign address: %v", err)
	}
	if _, err := client.Listen(data); err != nil {
		t.Fatal(err)
	}
	foreign, err := proxy.ListenForeign(data)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = server.Dial(t.Context(), netip.AddrPort{}, data); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := foreign.(*Listener).pending(); n != 1 {
		t.Errorf("%d connections at the foreign listener, want 1", n)
	}
	if c, err = proxy.Dial(t.Context(), netip.AddrPort{}, data); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := foreign.(*Listener).pending(); n != 1 {
		t.Errorf("the proxy's own dial to the client came back to it")
	}
}
