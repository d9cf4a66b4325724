package tcp

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// around is a wrapper, as TLS is one.
type around struct{ net.Conn }

func (a around) NetConn() net.Conn { return a.Conn }

func TestUnderlying(t *testing.T) {
	_, socket := pair(t)
	pipe, _ := net.Pipe()
	for _, conn := range []net.Conn{socket, around{socket}, around{around{socket}}, Prompt(around{socket})} {
		if got := Underlying(conn); got != net.Conn(socket) {
			t.Errorf("Underlying(%T) = %T", conn, got)
		}
		if got, ok := Socket(conn); got != socket || !ok {
			t.Errorf("Socket(%T) = %v, %t", conn, got, ok)
		}
	}
	if Underlying(around{pipe}) != pipe {
		t.Error("a pipe is not its own underlying connection")
	}
	if _, ok := Socket(around{pipe}); ok {
		t.Error("a pipe is a socket")
	}
}

func TestAddrPort(t *testing.T) {
	mapped := &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 21}
	for _, tt := range []struct {
		addr net.Addr
		want string // "" is invalid
	}{
		{nil, ""},
		{(*net.TCPAddr)(nil), ""},
		{mapped, "192.0.2.1:21"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 21}, "[fe80::1%eth0]:21"},
		{&net.UDPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}, "192.0.2.1:7"},
		{&net.UnixAddr{Name: "/run/socket"}, ""},
	} {
		want := netip.AddrPort{}
		if tt.want != "" {
			want = netip.MustParseAddrPort(tt.want)
		}
		if got := AddrPort(tt.addr); got != want {
			t.Errorf("AddrPort(%v) = %v, want %v", tt.addr, got, want)
		}
	}
}

func TestCloseWriteAndReset(t *testing.T) {
	for _, wrap := range []func(net.Conn) net.Conn{
		func(c net.Conn) net.Conn { return c },
		func(c net.Conn) net.Conn { return around{c} },
		Prompt,
	} {
		peer, ours := pair(t)
		if err := CloseWrite(wrap(ours)); err != nil {
			t.Error(err)
		}
		if n, err := peer.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Errorf("after CloseWrite the peer reads %d bytes, %v", n, err)
		}

		peer, ours = pair(t)
		Reset(wrap(ours))
		if n, err := peer.Read(make([]byte, 1)); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after Reset the peer reads %d bytes, %v", n, err)
		}

		peer, ours = pair(t)
		ResetOnClose(wrap(ours), true)
		ResetOnClose(wrap(ours), false)
		_ = ours.Close()
		if n, err := peer.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Errorf("after a Close the peer reads %d bytes, %v", n, err)
		}
	}
	pipe, other := net.Pipe()
	if err := CloseWrite(pipe); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite of a pipe = %v", err)
	}
	Reset(around{pipe})
	if _, err := other.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after Reset of a pipe: %v", err)
	}
}

// closing counts its closes.
type closing struct {
	net.Conn
	closed *int
}

func (c closing) Close() error { *c.closed++; return nil }

func TestResetClosesOnce(t *testing.T) {
	n := 0
	if Reset(closing{nil, &n}); n != 1 {
		t.Errorf("closed %d times", n)
	}
}
