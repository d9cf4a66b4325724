package listeners

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"ftproxy/internal/logline"
	"ftproxy/internal/tcp"
)

func TestFind(t *testing.T) {
	wanted := make(map[netip.AddrPort]string)
	for _, at := range []string{"192.0.2.1:21", "0.0.0.0:21", "[::]:2121", "127.0.0.1:0"} {
		wanted[netip.MustParseAddrPort(at)] = at
	}
	for _, tt := range []struct{ key, local, want string }{
		{"0.0.0.0:21", "192.0.2.1", "192.0.2.1:21"}, // its socket is kept for the single address, too
		{"0.0.0.0:21", "192.0.2.2", "0.0.0.0:21"},
		{"192.0.2.1:21", "192.0.2.1", "192.0.2.1:21"},
		{"192.0.2.3:21", "192.0.2.3", "0.0.0.0:21"}, // was opened for the single address
		{"[::]:2121", "2001:db8::1", "[::]:2121"},
		{"[::]:21", "2001:db8::1", ""},
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1:0"},
	} {
		if got := Find(wanted, netip.MustParseAddrPort(tt.key), netip.MustParseAddr(tt.local)); got != tt.want {
			t.Errorf("listener %s, reached at %s: %q; want %q", tt.key, tt.local, got, tt.want)
		}
	}
}

// A listener that two configurations have stays open, one that is not wanted is closed,
// and what is opened and not put to use changes nothing.
func TestUse(t *testing.T) {
	served := make(chan netip.AddrPort, 1)
	ls := New(Options{Network: tcp.Network{}, Log: logline.Log{Logger: zerolog.Nop()}, Serve: func(conn net.Conn, key netip.AddrPort, _ bool) {
		_ = conn.Close()
		served <- key
	}})
	defer ls.Wait()
	defer ls.Close()
	one, two := netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.2:0")
	use := func(wanted ...netip.AddrPort) map[netip.AddrPort]net.Addr {
		t.Helper()
		w := make(Wanted)
		for _, addr := range wanted {
			w[addr] = Want{Frontend: "public"}
		}
		unused, err := ls.Open(w)
		if err != nil {
			t.Fatal(err)
		}
		unused.Close()
		opened, err := ls.Open(w)
		if err != nil {
			t.Fatal(err)
		}
		ls.Use(opened)
		addrs := ls.Addrs(w)
		if got := slices.SortedFunc(maps.Keys(addrs), netip.AddrPort.Compare); !slices.Equal(got, wanted) {
			t.Errorf("listening on %v; want %v", got, wanted)
		}
		for key, at := range addrs {
			conn, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			if got := <-served; got != key {
				t.Errorf("a client of %v is served as one of %v", key, got)
			}
		}
		return addrs
	}
	first := use(one)
	second := use(one, two)
	if first[one].String() != second[one].String() {
		t.Errorf("%v was %v, is %v", one, first[one], second[one])
	}
	use(two)
	if conn, err := net.Dial("tcp", first[one].String()); err == nil {
		_ = conn.Close()
		t.Errorf("somebody still listens on %v", first[one])
	}
}
