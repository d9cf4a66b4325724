package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"ftproxy/config"
	"ftproxy/internal/listeners"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
)

// What a new configuration does to the sockets of control connections is the
// kernel's matter as much as ours.

// A family is two addresses of this machine and the wildcard that has both; of
// IPv6 it has one only.
type family struct {
	name       string
	one, other netip.Addr
	all        netip.Addr
}

// eachFamily runs a test with IPv4 and with IPv6.
func eachFamily(t *testing.T, test func(t *testing.T, f family)) {
	t.Run("IPv4", func(t *testing.T) {
		test(t, family{"IPv4", netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.IPv4Unspecified()})
	})
	t.Run("IPv6", func(t *testing.T) {
		if !haveIPv6() {
			lack(t, "no IPv6 on loopback")
		}
		test(t, family{name: "IPv6", one: netip.IPv6Loopback(), all: netip.IPv6Unspecified()})
	})
}

// A stageSet is a process that listens where its test says, before a server that
// greets everybody.
type stageSet struct {
	t       *testing.T
	process *Process
	sockets *openListeners
	server  config.Server
	port    uint16
}

// openListeners is the network of the machine. It knows which listeners of the
// process are open, and leaves them what they are.
type openListeners struct {
	tcp.Network
	seen   witness
	mu     sync.Mutex
	last   map[netip.AddrPort]net.Listener // for each address
	opened func()                          // unless it is nil
}

func (n *openListeners) Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error) {
	l, err := n.Network.Listen(addr, beside...)
	if err == nil {
		n.seen.saw(l)
		n.mu.Lock()
		n.last[addr] = l
		n.mu.Unlock()
	}
	if n.opened != nil {
		n.opened()
	}
	return l, err
}

// setStage makes a process that has no configuration yet.
func setStage(t *testing.T) *stageSet {
	t.Helper()
	noGoroutineStays(t)
	st := &stageSet{t: t, port: freePort(t).First, server: greetingServer(t)}
	st.restart()
	t.Cleanup(st.leave)
	return st
}

// restart replaces the process.
func (st *stageSet) restart() {
	st.sockets = &openListeners{last: make(map[netip.AddrPort]net.Listener)}
	st.process = New(Options{Network: st.sockets, Log: zerolog.Nop(), Metrics: metrics.New("test")})
}

// leave stops the process; it leaves nothing open.
func (st *stageSet) leave() {
	st.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
	defer cancel()
	if err := st.process.Shutdown(ctx); err != nil {
		st.t.Errorf("shutdown: %v", err)
	}
	if n := st.sockets.seen.open(); n != 0 {
		st.t.Errorf("%d listeners are still open", n)
	}
}

// configured is a configuration with one frontend that listens on these addresses.
func (st *stageSet) configured(addrs ...netip.Addr) *config.Config {
	c := config.Defaults()
	fe := config.NewFrontend("public")
	for _, a := range addrs {
		fe.Listen = append(fe.Listen, netip.AddrPortFrom(a, st.port))
	}
	fe.Backend = "inside"
	be := config.NewBackend("inside")
	be.Servers = []config.Server{st.server}
	c.Frontends, c.Backends = []config.Frontend{fe}, []config.Backend{be}
	return &c
}

// listenOnly puts such a configuration in force.
func (st *stageSet) listenOnly(addrs ...netip.Addr) {
	st.t.Helper()
	if err := st.process.Apply(st.configured(addrs...)); err != nil {
		st.t.Fatal(err)
	}
}

// at is an address with the port of the stage.
func (st *stageSet) at(addr netip.Addr) string { return netip.AddrPortFrom(addr, st.port).String() }

// greetingServer is a server that greets and says no more.
func greetingServer(t *testing.T) config.Server {
	t.Helper()
	l := listenLoopback(t)
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, "220 ready\r\n")
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		sessions.Wait()
	})
	at := tcp.AddrPort(l.Addr())
	return config.Server{Host: at.Addr().String(), Port: at.Port()}
}

// visit connects as a client and leaves when it was greeted.
func visit(at string) error {
	conn, err := net.DialTimeout("tcp", at, socketTimeout)
	if err != nil {
		return err
	}
	defer reset(conn.(*net.TCPConn))
	_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "220 ") {
		err = fmt.Errorf("greeted with %q", line)
	}
	return err
}

func (st *stageSet) wantGreeting(addr netip.Addr) {
	st.t.Helper()
	if err := visit(st.at(addr)); err != nil {
		st.t.Errorf("a client of %v: %v", addr, err)
	}
}

func (st *stageSet) wantRefused(addr netip.Addr) {
	st.t.Helper()
	if err := visit(st.at(addr)); !errors.Is(err, syscall.ECONNREFUSED) {
		st.t.Errorf("a client of %v: %v, want %v", addr, err, syscall.ECONNREFUSED)
	}
}

// wantSentAway expects a reset where a socket listens for the sake of others.
func (st *stageSet) wantSentAway(addr netip.Addr) {
	st.t.Helper()
	conn, err := net.DialTimeout("tcp", st.at(addr), socketTimeout)
	if errors.Is(err, syscall.ECONNRESET) {
		return // It came before connect had returned.
	}
	if err != nil {
		st.t.Fatalf("a client of %v: %v", addr, err)
	}
	defer conn.Close()
	wantReset(st.t, "a client of "+addr.String(), conn.(*net.TCPConn))
}

// An inode tells sockets apart, by the address that they were opened for.
func (st *stageSet) inodes() map[netip.Addr]uint64 {
	st.t.Helper()
	st.sockets.mu.Lock()
	defer st.sockets.mu.Unlock()
	all := make(map[netip.Addr]uint64)
	for key, l := range st.sockets.last {
		raw, err := l.(syscall.Conn).SyscallConn()
		if err != nil {
			st.t.Fatal(err)
		}
		var info unix.Stat_t
		if err := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &info) }); err != nil {
			continue // It is closed.
		}
		all[key.Addr()] = info.Ino
	}
	return all
}

// wantInodes expects that these sockets, of before, are there and no other but
// those for the new addresses.
func (st *stageSet) wantInodes(before map[netip.Addr]uint64, stay []netip.Addr, opened ...netip.Addr) map[netip.Addr]uint64 {
	st.t.Helper()
	now := st.inodes()
	rest := maps.Clone(now)
	for _, a := range stay {
		if now[a] == 0 || now[a] != before[a] {
			st.t.Errorf("the socket of %v was inode %d, is %d", a, before[a], now[a])
		}
		delete(rest, a)
	}
	for _, a := range opened {
		if now[a] == 0 {
			st.t.Errorf("no socket for %v", a)
		}
		delete(rest, a)
	}
	if len(rest) > 0 {
		st.t.Errorf("more sockets are open: %v", rest)
	}
	return now
}

// A socket that a new configuration can use stays the same socket.
func TestListenersStay(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) {
		one, other, all := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.IPv4Unspecified()
		st := setStage(t)
		st.listenOnly(one)
		first := st.inodes()
		st.listenOnly(one)
		st.wantInodes(first, []netip.Addr{one})
		st.listenOnly(one, other)
		both := st.wantInodes(first, []netip.Addr{one}, other)
		st.wantGreeting(other)
		st.listenOnly(one)
		st.wantInodes(both, []netip.Addr{one})
		st.wantRefused(other)
		st.listenOnly(all)
		wide := st.wantInodes(first, []netip.Addr{one}, all)
		st.wantGreeting(one)
		st.wantGreeting(other)
		st.listenOnly(one) // which has a socket of its own
		st.wantInodes(wide, []netip.Addr{one})
		st.wantRefused(other)

		// A wildcard stays for an address that has none.
		st.port = freePort(t).First
		st.listenOnly(all)
		wide = st.wantInodes(nil, nil, all)
		st.listenOnly(one)
		st.wantInodes(wide, []netip.Addr{all})
		st.wantGreeting(one)
		st.wantSentAway(other)
		st.listenOnly(one, other)
		st.wantInodes(wide, []netip.Addr{all})
		st.wantGreeting(one)
		st.wantGreeting(other)
		st.listenOnly(other)
		st.wantInodes(wide, []netip.Addr{all})
		st.wantSentAway(one)
		st.listenOnly(all)
		st.wantInodes(wide, []netip.Addr{all})
		st.wantGreeting(one)
		port := st.port
		st.port = freePort(t).First
		st.listenOnly(one)
		st.wantInodes(nil, nil, one)
		st.port = port
		st.wantRefused(one)
	})
	t.Run("IPv6", func(t *testing.T) {
		if !haveIPv6() {
			lack(t, "no IPv6 on loopback")
		}
		one4, all4, one6, all6 := netip.MustParseAddr("127.0.0.1"), netip.IPv4Unspecified(), netip.IPv6Loopback(), netip.IPv6Unspecified()
		st := setStage(t)
		st.listenOnly(one4, one6)
		first := st.inodes()
		st.listenOnly(all6, one4)
		wide := st.wantInodes(first, []netip.Addr{one4, one6}, all6)
		st.listenOnly(all4, all6)
		wide = st.wantInodes(wide, []netip.Addr{one4, one6, all6}, all4)
		st.wantGreeting(one4)
		st.wantGreeting(one6)
		st.listenOnly(one6)
		st.wantInodes(wide, []netip.Addr{one6})
		st.wantRefused(one4)
		st.wantGreeting(one6)
	})
}

// A listener that was opened beside another is no lesser one.
func TestListenerBesideAnother(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		st := setStage(t)
		st.listenOnly(f.one)
		st.listenOnly(f.all)
		for key, l := range st.sockets.last { // Nobody listens any more.
			for _, option := range []struct {
				name             string
				level, opt, want int
			}{
				{"SO_OOBINLINE", unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
				{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 90_000},
				{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 0},
			} {
				raw, err := l.(syscall.Conn).SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				got := 0
				if err := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), option.level, option.opt) }); err != nil || got != option.want {
					t.Errorf("%s of the listener on %v is %d (%v), want %d", option.name, key, got, err, option.want)
				}
			}
		}
	})
}

// A wildcard socket that is kept for one address looks closed at the others.
func TestWildcardServesOnlyItsAddresses(t *testing.T) {
	one, other, all := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.IPv4Unspecified()
	st := setStage(t)
	st.listenOnly(all)
	st.wantGreeting(one)
	st.wantGreeting(other)
	for range 3 {
		st.listenOnly(one)
		st.wantGreeting(one)
		st.wantSentAway(other)
		st.listenOnly(other)
		st.wantSentAway(one)
		st.wantGreeting(other)
		st.listenOnly(one, other)
		st.wantGreeting(one)
		st.wantGreeting(other)
		st.listenOnly(all)
		st.wantGreeting(one)
		st.wantGreeting(other)
	}
}

// A hammer is clients that connect without a pause.
type hammer struct {
	visits atomic.Int64
	stop   atomic.Bool
	done   sync.WaitGroup
	mu     sync.Mutex
	err    error
}

const hammers = 4

func swing(at string) *hammer {
	h := &hammer{}
	for range hammers {
		h.done.Go(func() {
			for !h.stop.Load() {
				if err := visit(at); err != nil {
					h.mu.Lock()
					h.err = errors.Join(h.err, err)
					h.mu.Unlock()
					return
				}
				h.visits.Add(1)
			}
		})
	}
	return h
}

func (h *hammer) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// land waits until each client may have come twice: once at least it began after
// land did.
func (h *hammer) land(t *testing.T) {
	t.Helper()
	want := h.visits.Load() + 2*hammers
	for deadline := time.Now().Add(socketTimeout); h.visits.Load() < want; {
		if err := h.failure(); err != nil {
			t.Fatal("a client of an address that is always served: ", err)
		}
		if time.Now().After(deadline) {
			t.Fatal("no client comes")
		}
		<-time.After(100 * time.Microsecond)
	}
}

// Clients of an address that every configuration has notice nothing. The first
// wildcard that a process has is the one that is opened; so there are many
// processes.
func TestNobodyIsRefusedBetweenWildcardAndAddress(t *testing.T) {
	const processes = 25 // of four switches each
	for _, begin := range []string{"one address", "all addresses"} {
		t.Run(begin, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, f family) {
				st := setStage(t)
				several := []netip.Addr{f.one}
				if f.other.IsValid() {
					several = append(several, f.other)
				}
				switches := [][]netip.Addr{{f.one}, {f.all}, several, {f.all}, {f.one}}
				if begin == "all addresses" {
					switches = [][]netip.Addr{{f.all}, {f.one}, {f.all}, several, {f.all}}
				}
				for range processes {
					st.listenOnly(switches[0]...)
					h := swing(st.at(f.one))
					for _, to := range switches[1:] {
						h.land(t)
						st.listenOnly(to...)
					}
					h.land(t)
					h.stop.Store(true)
					h.done.Wait()
					if err := h.failure(); err != nil {
						t.Fatal(err)
					}
					st.leave()
					st.restart()
				}
			})
		})
	}
}

// joins tries to listen on a port as a program of the same user that wants to
// share it.
func joins(addr netip.Addr, port uint16) error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, failed)
	}}
	network := "tcp4"
	if addr.Is6() {
		network = "tcp6"
	}
	l, err := config.Listen(context.Background(), network, netip.AddrPortFrom(addr, port).String())
	if err == nil {
		_ = l.Close()
	}
	return err
}

// The sockets of one port share it with each other for the moment in which the
// second is opened, and never with another program afterwards.
func TestNobodyJoinsAListener(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		st := setStage(t)
		addrs := []netip.Addr{f.one, f.all}
		if f.other.IsValid() {
			addrs = append(addrs, f.other)
		}
		for i, listen := range []netip.Addr{f.one, f.all, f.one, f.all} {
			st.listenOnly(listen)
			for _, a := range addrs {
				if listen == f.one && a != f.one {
					continue // It is not ours.
				}
				if err := joins(a, st.port); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("listening on %v after %d changes: %v, want %v", a, i, err, syscall.EADDRINUSE)
				}
			}
		}
	})
}

// A configuration that was refused after its wildcard had been opened leaves the
// port as closed to others as it was.
func TestNobodyJoinsAfterARefusedConfiguration(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		taken, err := net.Listen("tcp", netip.AddrPortFrom(f.one, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		st := setStage(t)
		st.listenOnly(f.one)
		wanted := st.configured(f.all)
		wanted.Frontends[0].Listen = append(wanted.Frontends[0].Listen, tcp.AddrPort(taken.Addr()))
		if err := st.process.Apply(wanted); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
		if err := joins(f.one, st.port); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("another program joins the port: %v", err)
		}
	})
}

// A configuration of which one address is taken leaves everything as it was.
func TestRefusedConfigurationOpensNothing(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		taken, err := net.Listen("tcp", netip.AddrPortFrom(f.one, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		st := setStage(t)
		st.listenOnly(f.one)
		before, rt, open := st.inodes(), st.process.runtime.Load(), st.sockets.seen.open()

		wanted := st.configured(f.one, f.all)
		free := netip.AddrPortFrom(f.one, freePort(t).First)
		wanted.Frontends[0].Listen = []netip.AddrPort{
			netip.AddrPortFrom(f.all, st.port), free, tcp.AddrPort(taken.Addr()),
		}
		for range 3 {
			err = st.process.Apply(wanted)
			var failed *listeners.Error
			if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &failed) || failed.Addr != tcp.AddrPort(taken.Addr()) || failed.Frontend != "public" {
				t.Fatalf("Apply: %v, want that %v is taken", err, taken.Addr())
			}
		}
		st.wantInodes(before, []netip.Addr{f.one})
		if now := st.sockets.seen.open(); now != open {
			t.Errorf("%d listeners are open, it were %d", now, open)
		}
		if st.process.runtime.Load() != rt {
			t.Error("other rules are in force")
		}
		if err := visit(free.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a client of %v: %v", free, err)
		}
		st.wantGreeting(f.one)
		if f.other.IsValid() {
			st.wantRefused(f.other)
		}

		_ = taken.Close()
		if err := st.process.Apply(wanted); err != nil {
			t.Fatal("when the address is free: ", err)
		}
		if err := visit(taken.Addr().String()); err != nil {
			t.Error(err)
		}
	})
}

// Another program has one of all the addresses.
func TestWildcardBesideAnotherProgram(t *testing.T) {
	one, other := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	st := setStage(t)
	st.listenOnly(one)
	before := st.inodes()
	taken, err := net.Listen("tcp4", st.at(other))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := st.process.Apply(st.configured(netip.IPv4Unspecified())); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Apply: %v, want %v", err, syscall.EADDRINUSE)
	}
	st.wantInodes(before, []netip.Addr{one})
	st.wantGreeting(one)
	if err := joins(one, st.port); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another program joins the port: %v", err)
	}
}

// Who leaves service takes no new configuration.
func TestApplyAfterShutdown(t *testing.T) {
	st := setStage(t)
	one := netip.MustParseAddr("127.0.0.1")
	st.listenOnly(one)
	st.leave()
	st.sockets.opened = func() { t.Error("a socket was opened") }
	if err := st.process.Apply(st.configured(one)); !errors.Is(err, ErrShutdown) {
		t.Errorf("Apply: %v, want %v", err, ErrShutdown)
	}
	if addrs := st.process.Addrs(); len(addrs) != 0 {
		t.Errorf("listens on %v", addrs)
	}
	st.wantRefused(one)
}

// Whichever comes first, nothing is left open.
func TestApplyRacesShutdown(t *testing.T) {
	one, other, all := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.IPv4Unspecified()
	st := setStage(t)
	applied, late := 0, 0
	for i := range 200 {
		if i%2 == 0 { // The other half has its first configuration in the race.
			st.listenOnly(one)
		}
		opened := make(chan struct{})
		st.sockets.opened = sync.OnceFunc(func() { close(opened) })
		var racing sync.WaitGroup
		var failed [2]error
		for n, c := range []*config.Config{st.configured(all), st.configured(one, other)} {
			racing.Go(func() { failed[n] = st.process.Apply(c) })
		}
		<-opened // It is under way.
		racing.Go(func() { _ = st.process.Shutdown(t.Context()) })
		racing.Wait()
		for _, err := range failed {
			switch {
			case err == nil:
				applied++
			case errors.Is(err, ErrShutdown):
				late++
			default:
				t.Fatal(err)
			}
		}
		if n := st.sockets.seen.open(); n != 0 {
			t.Fatalf("%d listeners are still open", n)
		}
		st.restart()
	}
	t.Logf("%d configurations came into force, %d too late", applied, late)
}
