package ftptest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// DefaultBuffer is how many bytes a connection holds per direction before its
// writer blocks, unless SetBuffer or SetReadBuffer says otherwise.
const DefaultBuffer = 64 << 10

// A Network is an internet in memory. Nothing in it takes time: a dial is
// answered and a byte delivered at once, or never. Whatever blocks in it
// blocks durably in the sense of testing/synctest, so a test's clock runs only
// when everybody waits; it works outside of a synctest bubble as well.
type Network struct {
	mu     sync.Mutex // guards everything in the network, its connections included
	hosts  map[netip.Addr]*Host
	names  map[string][]netip.Addr
	buffer int
}

// NewNetwork returns a network without hosts.
func NewNetwork() *Network {
	return &Network{
		hosts:  make(map[netip.Addr]*Host),
		names:  make(map[string][]netip.Addr),
		buffer: DefaultBuffer,
	}
}

// SetBuffer sets how many bytes each direction of the connections made from
// now on holds. Values below 1 count as 1.
func (n *Network) SetBuffer(bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.buffer = max(bytes, 1)
}

// Name makes Resolve answer host with addrs. Without addrs the name is gone.
func (n *Network) Name(host string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[strings.ToLower(host)] = slices.Clone(addrs)
}

// Host returns the machine that has the first of addrs, after giving it the
// others too; it makes one where there is none yet. Giving one address to two
// machines is a mistake of the test and panics.
func (n *Network) Host(addrs ...netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	var h *Host
	if len(addrs) > 0 {
		h = n.hosts[addrs[0].Unmap()]
	}
	if h == nil {
		h = &Host{network: n, nextPort: firstEphemeral, open: make(map[fmt.Stringer]struct{})}
	}
	for _, a := range addrs {
		a = a.Unmap()
		switch n.hosts[a] {
		case nil:
			n.hosts[a] = h
			h.addrs = append(h.addrs, a)
		case h:
		default:
			panic(fmt.Sprintf("ftptest: %v belongs to another host", a))
		}
	}
	return h
}

// firstEphemeral is the first port given to dials and to listeners on port 0
// (RFC 6335 §6).
const firstEphemeral = 49152

// A Host is one machine of a Network.
type Host struct {
	network *Network

	// All of these are guarded by network.mu.
	addrs     []netip.Addr
	listeners []*Listener
	nextPort  uint16
	drop      bool
	open      map[fmt.Stringer]struct{} // *Listener and *Conn not yet closed
}

// Addrs returns the host's addresses.
func (h *Host) Addrs() []netip.Addr {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	return slices.Clone(h.addrs)
}

// DropDials makes the host ignore (or again answer) dials to it, as behind a
// firewall that drops: the dial lasts until its context ends.
func (h *Host) DropDials(drop bool) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	h.drop = drop
}

// Open describes every listener and connection of the host that its owner has
// not closed, sorted. Connections nobody has accepted yet count only while
// their listener is open. A program that has ended leaves none.
func (h *Host) Open() []string {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	var open []string
	for o := range h.open {
		open = append(open, o.String())
	}
	slices.Sort(open)
	return open
}

// Listen listens on one of the host's addresses, or on all of a family with
// the unspecified one; the IPv6 one does not include IPv4. Port 0 picks a free
// port. The error wraps syscall.EADDRINUSE when the port is taken and
// syscall.EADDRNOTAVAIL when the host does not have the address. A wildcard may
// be opened beside listeners for single addresses; connections to theirs are
// theirs.
func (h *Host) Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error) {
	return h.listen(addr, false, beside)
}

// ListenForeign listens on an address that may be another host's, as
// IP_TRANSPARENT lets: every host's dials to it come here rather than there, for
// h is on their way.
func (h *Host) ListenForeign(addr netip.AddrPort) (net.Listener, error) {
	return h.listen(addr, true, nil)
}

func (h *Host) listen(addr netip.AddrPort, foreign bool, beside []net.Listener) (net.Listener, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	addr = unmap(addr)
	failed := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: os.NewSyscallError("bind", err)}
	}
	if !foreign && !addr.Addr().IsUnspecified() && !slices.Contains(h.addrs, addr.Addr()) {
		return failed(syscall.EADDRNOTAVAIL)
	}
	if addr.Port() == 0 {
		port, ok := h.freePort()
		if !ok {
			return failed(syscall.EADDRINUSE)
		}
		addr = netip.AddrPortFrom(addr.Addr(), port)
	}
	for _, l := range h.listeners {
		if l.addr.Port() == addr.Port() && (l.covers(addr.Addr()) || covers(addr.Addr(), l.addr.Addr())) &&
			!slices.Contains(beside, net.Listener(l)) {
			return failed(syscall.EADDRINUSE)
		}
	}
	l := &Listener{host: h, addr: addr, foreign: foreign, wake: sync.NewCond(&n.mu)}
	h.listeners = append(h.listeners, l)
	h.open[l] = struct{}{}
	return l, nil
}

// Dial connects to remote from local, or when local has no address from the
// host's address that has most leading bits in common with remote's, as a
// routing table would have it (RFC 6724 §5, rule 8); port 0 picks one. The
// error wraps syscall.ECONNREFUSED when nobody listens, syscall.EHOSTUNREACH
// when there is no such host, syscall.EADDRNOTAVAIL when the host does not have
// local or has such a connection already, and ctx's error when the host drops
// dials or ctx has ended.
func (h *Host) Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	return h.dial(ctx, local, remote, false)
}

// DialForeign is Dial from an address that may be another host's. What is sent
// there goes to h.
func (h *Host) DialForeign(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	return h.dial(ctx, local, remote, true)
}

func (h *Host) dial(ctx context.Context, local, remote netip.AddrPort, foreign bool) (net.Conn, error) {
	remote = unmap(remote)
	failed := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return failed(err)
	}
	c, dropped, err := h.connect(unmap(local), remote, foreign)
	if dropped {
		<-ctx.Done()
		return failed(ctx.Err())
	}
	if err != nil {
		return failed(os.NewSyscallError("connect", err))
	}
	return c, nil
}

// connect is the part of Dial that does not wait. It reports dropped if the
// remote host never answers.
func (h *Host) connect(local, remote netip.AddrPort, foreign bool) (c *Conn, dropped bool, err error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if !local.Addr().IsValid() || local.Addr().IsUnspecified() {
		a, ok := h.source(remote.Addr())
		if !ok {
			return nil, false, syscall.ENETUNREACH
		}
		local = netip.AddrPortFrom(a, local.Port())
	}
	if !foreign && !slices.Contains(h.addrs, local.Addr()) || local.Addr().Is4() != remote.Addr().Is4() {
		return nil, false, syscall.EADDRNOTAVAIL
	}
	if local.Port() == 0 {
		port, ok := h.freePort()
		if !ok {
			return nil, false, syscall.EADDRNOTAVAIL
		}
		local = netip.AddrPortFrom(local.Addr(), port)
	}
	for o := range h.open {
		if c, ok := o.(*Conn); ok && c.local == local && c.remote == remote {
			return nil, false, syscall.EADDRNOTAVAIL
		}
	}
	peer := n.hosts[remote.Addr()]
	if l := n.interceptor(h, remote); l != nil {
		peer = l.host
	}
	if peer == nil {
		return nil, false, syscall.EHOSTUNREACH
	}
	if peer.drop {
		return nil, true, nil
	}
	for _, l := range peer.listeners {
		if l.addr.Port() == remote.Port() && l.covers(remote.Addr()) {
			ours, theirs := newPair(h, peer, local, remote, n.buffer)
			h.open[ours] = struct{}{}
			l.queue = append(l.queue, theirs)
			l.wake.Broadcast()
			return ours, false, nil
		}
	}
	return nil, false, syscall.ECONNREFUSED
}

// interceptor is the listener of another host that takes the dials of h to an
// address which is not its own.
func (n *Network) interceptor(h *Host, remote netip.AddrPort) *Listener {
	for _, host := range n.hosts {
		for _, l := range host.listeners {
			if l.foreign && host != h && l.addr == remote {
				return l
			}
		}
	}
	return nil
}

// Resolve returns the addresses that Name gave the host name, or host itself
// when it is an address. The error is a *net.DNSError with IsNotFound set, or
// ctx's error.
func (h *Host) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lookup %s: %w", host, err)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	addrs := h.network.names[strings.ToLower(host)]
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return slices.Clone(addrs), nil
}

// freePort returns the next ephemeral port that no listener of the host has.
func (h *Host) freePort() (uint16, bool) {
	for range 1<<16 - firstEphemeral {
		port := h.nextPort
		h.nextPort++
		if h.nextPort == 0 {
			h.nextPort = firstEphemeral
		}
		if !slices.ContainsFunc(h.listeners, func(l *Listener) bool { return l.addr.Port() == port }) {
			return port, true
		}
	}
	return 0, false
}

// source returns the address from which the host reaches remote.
func (h *Host) source(remote netip.Addr) (addr netip.Addr, ok bool) {
	common := -1
	for _, a := range h.addrs {
		if a.Is4() != remote.Is4() {
			continue
		}
		bits := 0
		for bits < a.BitLen() && netip.PrefixFrom(a, bits+1).Contains(remote) {
			bits++
		}
		if bits > common {
			addr, common = a, bits
		}
	}
	return addr, common >= 0
}

// covers reports whether a listener on bound gets the connections to a.
func covers(bound, a netip.Addr) bool {
	return bound == a || bound.IsUnspecified() && bound.Is4() == a.Is4()
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
