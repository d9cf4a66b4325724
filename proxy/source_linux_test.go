package proxy

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ftproxy/config"
)

// One source port has a connection to each port of each peer, and the kernel
// says so where it cannot have another; then the leg takes the next.
func TestSourcePort(t *testing.T) {
	first, second := freePort(t), freePort(t)
	leg := func(to net.Listener) dialLeg {
		return dialLeg{network: TCP{}, local: netip.MustParseAddr("127.0.0.1"), ports: []config.PortRange{first, second},
			remote: addrPort(to.Addr())}
	}
	open := func(l dialLeg, want config.PortRange) {
		t.Helper()
		conn, err := l.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if got := addrPort(conn.LocalAddr()).Port(); got != want.First {
			t.Errorf("from port %d, want %v", got, want)
		}
	}
	a, b := listenLoopback(t), listenLoopback(t)
	open(leg(a), first)
	open(leg(b), first)
	open(leg(a), second)
	open(leg(b), second)
	if _, err := leg(a).open(t.Context()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a third one: %v", err)
	}
	// Nobody is there: that is not for another port to try.
	_ = b.Close()
	if _, err := leg(b).open(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("to nobody: %v", err)
	}
}

// The log says whom we could not reach, and from where only if that was chosen.
func TestDialError(t *testing.T) {
	l := listenLoopback(t)
	_ = l.Close()
	remote := addrPort(l.Addr())
	for local, want := range map[netip.AddrPort]string{
		{}:                                     "dial tcp " + remote.String() + ": connect: connection refused",
		netip.MustParseAddrPort("127.0.0.1:0"): "dial tcp 127.0.0.1:0->" + remote.String() + ": connect: connection refused",
	} {
		if _, err := (TCP{}).Dial(t.Context(), local, remote); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A privileged port without the capability is found when the process starts.
func TestMayBind(t *testing.T) {
	if err := (TCP{}).MayBind(freePort(t).First); err != nil {
		t.Error(err)
	}
	busy := listenLoopback(t)
	if err := (TCP{}).MayBind(addrPort(busy.Addr()).Port()); err != nil {
		t.Error("a port that another socket has:", err)
	}
	if unix.Geteuid() != 0 {
		lack(t, "giving up the capability needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // The thread ends with the goroutine, and its lack with it.
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			done <- err
			return
		}
		done <- TCP{}.MayBind(20)
	}()
	if err := <-done; !errors.Is(err, syscall.EACCES) {
		t.Errorf("port 20 without the capability: %v", err)
	}
}
