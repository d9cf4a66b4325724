package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
)

// A place is a piece of loopback that belongs to one test.
type place struct {
	server, proxy, client netip.Addr
	passive, data         portRange // ftproxy's, free on proxy and on ::1
}

type portRange struct{ first, last uint16 }

func (r portRange) String() string { return fmt.Sprintf("%d-%d", r.first, r.last) }

func (r portRange) contains(port uint16) bool { return r.first <= port && port <= r.last }

const rangeSize = 60

var places struct {
	sync.Mutex
	n    int
	port uint16
}

// newPlace finds a free place. Two test processes at once differ in 127.x by
// their process id.
func newPlace(t *testing.T) place {
	t.Helper()
	places.Lock()
	defer places.Unlock()
	x, y := byte(1+os.Getpid()%250), byte(places.n%250)
	places.n++
	p := place{
		server: netip.AddrFrom4([4]byte{127, x, y, 20}),
		proxy:  netip.AddrFrom4([4]byte{127, x, y, 10}),
		client: netip.AddrFrom4([4]byte{127, x, y, 30}),
	}
	p.passive = freeRange(t, p.proxy)
	p.data = freeRange(t, p.proxy)
	return p
}

// freeRange returns rangeSize ports below the ephemeral range that nobody
// listens on. The caller holds places.
func freeRange(t *testing.T, addr netip.Addr) portRange {
	t.Helper()
	const lowest, highest = 10000, 32000
	if places.port == 0 {
		places.port = uint16(lowest + os.Getpid()*131%(highest-lowest-rangeSize))
	}
	for range 200 {
		if places.port > highest-rangeSize {
			places.port = lowest
		}
		r := portRange{places.port, places.port + rangeSize - 1}
		places.port += rangeSize
		if bindable(addr, r) && (!haveIPv6() || bindable(netip.IPv6Loopback(), r)) {
			return r
		}
	}
	t.Fatal("no free port range")
	return portRange{}
}

func bindable(addr netip.Addr, r portRange) bool {
	for port := int(r.first); port <= int(r.last); port++ {
		l, err := net.Listen("tcp", netip.AddrPortFrom(addr, uint16(port)).String())
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// freePort returns a port nobody listens on at addr.
func freePort(t *testing.T, addr netip.Addr) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

var haveIPv6 = sync.OnceValue(func() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
})
