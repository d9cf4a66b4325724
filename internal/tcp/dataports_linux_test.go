package tcp

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// reusesPort tells whether a listener has SO_REUSEPORT.
func reusesPort(t *testing.T, l net.Listener) bool {
	t.Helper()
	return option(t, l.(syscall.Conn), unix.SOL_SOCKET, unix.SO_REUSEPORT) == 1
}

// asFirst lets the process be, or not be, the first ftproxy here, whoever else
// runs on the machine.
func asFirst(t *testing.T, is bool) {
	before := first
	first = func() bool { return is }
	t.Cleanup(func() { first = before })
}

// Two ftproxy may share a range, and so may ftproxy and another program: whoever
// listens on a port has it alone.
func TestDataPortIsOursAlone(t *testing.T) {
	loopback := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	for _, one := range []bool{false, true} {
		asFirst(t, one)
		l, err := Network{}.ListenData(Local{AddrPort: loopback})
		if err != nil {
			t.Fatal(err)
		}
		if reusesPort(t, l) != one {
			t.Errorf("first %t: SO_REUSEPORT %t", one, !one)
		}
		asFirst(t, !one)
		if other, err := (Network{}).ListenData(Local{AddrPort: AddrPort(l.Addr())}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("first %t: another ftproxy has %v, %v", one, other, err)
		}
		if other, err := net.Listen("tcp4", l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("first %t: another program has %v, %v", one, other, err)
		}
		// The port's connections, which have the option as their listener has it,
		// keep nobody from it once it is closed.
		conn, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		l.Close()
		next, err := Network{}.ListenData(Local{AddrPort: AddrPort(l.Addr())})
		if err != nil {
			t.Fatal(err)
		}
		asFirst(t, one)
		if other, err := (Network{}).ListenData(Local{AddrPort: AddrPort(l.Addr())}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("first %t, after another: both have %v, %v", one, other, err)
		}
		next.Close()
	}
}

// The sign has one holder.
func TestFirstSign(t *testing.T) {
	name := "@ftproxy-test-" + strconv.Itoa(unix.Getpid())
	if !holdSign(name) {
		t.Fatal("nobody has it, but it is not to be had")
	}
	if holdSign(name) {
		t.Error("two hold one sign")
	}
}
