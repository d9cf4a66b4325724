package tcp

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The log says whom we could not reach, and from where only if that was chosen.
func TestDialError(t *testing.T) {
	l := listenLoopback(t)
	_ = l.Close()
	remote := AddrPort(l.Addr())
	for local, want := range map[netip.AddrPort]string{
		{}:                                     "dial tcp " + remote.String() + ": connect: connection refused",
		netip.MustParseAddrPort("127.0.0.1:0"): "dial tcp 127.0.0.1:0->" + remote.String() + ": connect: connection refused",
	} {
		if _, err := (Network{}).Dial(t.Context(), Local{AddrPort: local}, remote); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// anyAddr is a port of no address in particular.
func anyAddr(port uint16) Local { return AnyPort(netip.Addr{}).WithPort(port) }

// A privileged port without the capability is found when the process starts.
func TestMayBind(t *testing.T) {
	free := listenLoopback(t)
	_ = free.Close()
	if err := (Network{}).MayBind(anyAddr(AddrPort(free.Addr()).Port())); err != nil {
		t.Error(err)
	}
	busy := listenLoopback(t)
	if err := (Network{}).MayBind(anyAddr(AddrPort(busy.Addr()).Port())); err != nil {
		t.Error("a port that another socket has:", err)
	}
	if err := mayBindWith(t, anyAddr(20)); !errors.Is(err, syscall.EACCES) {
		t.Errorf("port 20 without the capability: %v", err)
	}
}

// mayBindWith asks MayBind in a thread that has these capabilities and no other.
func mayBindWith(t *testing.T, local Local, capabilities ...int) error {
	t.Helper()
	if unix.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("giving up a capability needs root")
		}
		t.Skip("giving up a capability needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // The thread ends with the goroutine, and its lack with it.
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		for _, c := range capabilities {
			sets[0].Effective |= 1 << c
			sets[0].Permitted |= 1 << c
		}
		if err := unix.Capset(&header, &sets[0]); err != nil {
			done <- err
			return
		}
		done <- Network{}.MayBind(local)
	}()
	return <-done
}

// So are an address that is not here, and the lack of the capability that clients'
// addresses need: CAP_NET_RAW is enough, and is the smaller one.
func TestMayBindSource(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "127.0.0.2"} {
		if err := (Network{}).MayBind(AnyPort(netip.MustParseAddr(addr))); err != nil {
			t.Error(err)
		}
	}
	if err := (Network{}).MayBind(AnyPort(netip.MustParseAddr("192.0.2.77"))); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("an address that is not here: %v", err)
	}
	if err := mayBindWith(t, Local{Transparent: true}); !errors.Is(err, syscall.EPERM) {
		t.Errorf("clients' addresses without a capability: %v", err)
	}
	for _, c := range []int{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN} {
		if err := mayBindWith(t, Local{Transparent: true}, c); err != nil {
			t.Errorf("clients' addresses with capability %d: %v", c, err)
		}
	}
	foreign := Local{AddrPort: netip.MustParseAddrPort("192.0.2.77:0"), Transparent: true}
	if err := mayBindWith(t, foreign, unix.CAP_NET_RAW); err != nil {
		t.Errorf("a client's address: %v", err)
	}
}
