package tcp

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A peer whose cable is pulled sends nothing more, not even a reset. What finds
// it are options of the sockets: TCP_USER_TIMEOUT where our bytes wait for an
// acknowledgement, keepalive where nobody says anything. Data connections have
// the second alone: the first would kill a live receiver that pauses.
func TestSocketsFindDeadPeers(t *testing.T) {
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	accepted := func(t *testing.T, listen func(netip.AddrPort) (net.Listener, error)) net.Conn {
		l, err := listen(loopback)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		dialLoopback(t, l.Addr())
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dialled := func(t *testing.T) net.Conn {
		conn, err := Network{}.Dial(t.Context(), Local{}, AddrPort(listenLoopback(t).Addr()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for _, tt := range []struct {
		name        string
		open        func(t *testing.T) net.Conn
		userTimeout int // milliseconds
	}{
		{"control accepted", func(t *testing.T) net.Conn {
			return accepted(t, func(a netip.AddrPort) (net.Listener, error) { return Network{}.Listen(a) })
		}, 90_000},
		{"control dialled", func(t *testing.T) net.Conn {
			conn := dialled(t)
			TuneControl(conn)
			return conn
		}, 90_000},
		{"data accepted", func(t *testing.T) net.Conn {
			return accepted(t, func(a netip.AddrPort) (net.Listener, error) { return Network{}.ListenData(Local{AddrPort: a}) })
		}, 0},
		{"data dialled", dialled, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := tt.open(t).(*net.TCPConn)
			for _, o := range []struct {
				name          string
				level, option int
				want          int
			}{
				{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 45},
				{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
				{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 8},
				{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, tt.userTimeout},
			} {
				got := option(t, conn, o.level, o.option)
				if got != o.want {
					t.Errorf("%s is %d, want %d", o.name, got, o.want)
				}
			}
		})
	}
}
