package portpool

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"ftproxy/internal/tcp"
)

// A Range is the ports First to Last, both included.
type Range struct{ First, Last uint16 }

// Len is the number of ports.
func (r Range) Len() int {
	if r.First == 0 || r.Last < r.First {
		return 0
	}
	return int(r.Last) - int(r.First) + 1
}

// Contains reports whether port lies in the range.
func (r Range) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// String is "30000-30099", or "30000" for a single port.
func (r Range) String() string {
	first := strconv.Itoa(int(r.First))
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.Itoa(int(r.Last))
}

// A Request says what is wanted of a pool.
type Request struct {
	// Local is the address to listen on; it may be unspecified.
	Local netip.Addr
	// Transparent says that Local is an address of somebody else.
	Transparent bool
	Ports       Range
	// Peer is whose connection belongs to the lease: a single address, or a
	// prefix for clients whose data comes from a neighbouring address.
	Peer netip.Prefix
	// Others are more networks whose connections belong to the lease. What they
	// do is not known from what the peer does, so such a key cools for Long.
	Others []netip.Prefix
	// Header reads the PROXY header of a connection and returns the client that the
	// header names, and the connection to go on with. It runs on a goroutine of its
	// own and bounds its time itself. After an error the connection is reset; the
	// lease goes on waiting. nil: the client is at the connection's own address.
	Header func(net.Conn) (net.Conn, netip.Addr, error)
	// Through are the networks of the proxies, whose connections begin with a header.
	Through []netip.Prefix
	// Prove tells the owner of a connection of the peer, from its TLS session;
	// 0 is nobody. It runs as Header does. With it the owner is a part of the
	// key, so leases of different owners share a port and a peer.
	Prove func(net.Conn) (net.Conn, uint64, error)
	// Owner is the session.
	Owner uint64
	// Alike says how Header and Prove work. Pending requests that may get the
	// same connection to identify must be alike, because it is identified
	// before anybody knows for which it is. It must be comparable.
	Alike any
	// Refused is told why Prove has refused a connection of the peer that can
	// only have been meant for this lease. It is called with the pool locked.
	// nil: nobody.
	Refused func(error)
	// Evict asks the owner of a silent lease to leave, because others wait for
	// its key. It is called with the pool locked. nil: nobody is asked.
	Evict func()
	// Hold keeps the key until the lease is closed, for servers that dial from
	// a fixed port, where one port is one connection at a time.
	Hold bool
}

// normal checks r and returns it with IPv4 addresses as such and the prefixes masked.
func (r Request) normal() (Request, error) {
	if r.Ports.Len() == 0 {
		return r, fmt.Errorf("%w: ports %s", ErrRequest, r.Ports)
	}
	if !r.Local.IsValid() {
		return r, fmt.Errorf("%w: no local address", ErrRequest)
	}
	r.Local = r.Local.Unmap()
	if !r.Peer.IsValid() {
		return r, fmt.Errorf("%w: no peer", ErrRequest)
	}
	r.Peer = normalPrefix(r.Peer)
	var others []netip.Prefix
	for _, o := range r.Others {
		if o = normalPrefix(o); o != r.Peer && !slices.Contains(others, o) {
			others = append(others, o)
		}
	}
	r.Others = others
	return r, nil
}

func normalPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// networks calls do for each network whose connections belong to the lease,
// until it returns false, and returns what it did last.
func (r *Request) networks(do func(netip.Prefix) bool) bool {
	if !do(r.Peer) {
		return false
	}
	for _, o := range r.Others {
		if !do(o) {
			return false
		}
	}
	return true
}

// admits tells whether a connection from addr belongs to the lease.
func (r *Request) admits(addr netip.Addr) bool {
	return !r.networks(func(n netip.Prefix) bool { return !n.Contains(addr) })
}

// trusts tells whether connections from addr bring a header for the lease.
func (r *Request) trusts(addr netip.Addr) bool {
	return r.Header != nil && tcp.Within(r.Through, addr)
}

func overlap(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(n netip.Prefix) bool { return slices.ContainsFunc(b, n.Overlaps) })
}
