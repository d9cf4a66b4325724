package proxy

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"ftproxy/config"
	"ftproxy/internal/metrics"
)

// One source port has a connection to each port of each peer, and the kernel
// says so where it cannot have another; then the leg takes the next.
func TestSourcePort(t *testing.T) {
	first, second := freePort(t), freePort(t)
	leg := func(to net.Listener) dialLeg {
		return dialLeg{network: TCP{}, local: localAddr(netip.MustParseAddr("127.0.0.1")), ports: []config.PortRange{first, second},
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
		if _, err := (TCP{}).Dial(t.Context(), Local{AddrPort: local}, remote); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// anyAddr is a port of no address in particular.
func anyAddr(port uint16) Local { return localAddr(netip.Addr{}).with(port) }

// A privileged port without the capability is found when the process starts.
func TestMayBind(t *testing.T) {
	if err := (TCP{}).MayBind(anyAddr(freePort(t).First)); err != nil {
		t.Error(err)
	}
	busy := listenLoopback(t)
	if err := (TCP{}).MayBind(anyAddr(addrPort(busy.Addr()).Port())); err != nil {
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
		lack(t, "giving up a capability needs root")
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
		done <- TCP{}.MayBind(local)
	}()
	return <-done
}

// So are an address that is not here, and the lack of the capability that clients'
// addresses need: CAP_NET_RAW is enough, and is the smaller one.
func TestMayBindSource(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "127.0.0.2"} {
		if err := (TCP{}).MayBind(localAddr(netip.MustParseAddr(addr))); err != nil {
			t.Error(err)
		}
	}
	if err := (TCP{}).MayBind(localAddr(netip.MustParseAddr("192.0.2.77"))); !errors.Is(err, syscall.EADDRNOTAVAIL) {
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
	foreign := Local{netip.MustParseAddrPort("192.0.2.77:0"), true}
	if err := mayBindWith(t, foreign, unix.CAP_NET_RAW); err != nil {
		t.Errorf("a client's address: %v", err)
	}
}

// What cannot be had is an error of Apply, one for each, and nothing is in force.
func TestApplySources(t *testing.T) {
	p := New(Options{Network: TCP{}, Log: zerolog.Nop(), Metrics: metrics.New("test")})
	defer p.Shutdown(t.Context())
	c := config.Defaults()
	f, b := config.NewFrontend("f"), config.NewBackend("b")
	f.Listen, f.Backend = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, "b"
	b.Servers = []config.Server{{Host: "127.0.0.1", Port: 1}}
	b.Source = config.Source{IPv4: netip.MustParseAddr("192.0.2.77"), IPv6: netip.MustParseAddr("2001:db8::77")}
	c.Frontends, c.Backends = []config.Frontend{f}, []config.Backend{b}
	err := p.Apply(&c)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 || len(p.Addrs()) != 0 {
		t.Fatalf("%v, and listens on %v; want two errors and nothing", err, p.Addrs())
	}
	for i, addr := range []netip.Addr{b.Source.IPv4, b.Source.IPv6} {
		var e *SourceError
		if !errors.As(joined.Unwrap()[i], &e) || e.Backend != "b" || e.Addr != addr {
			t.Errorf("%v, want one about %s", joined.Unwrap()[i], addr)
		}
	}
}
