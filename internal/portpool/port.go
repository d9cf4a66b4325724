package portpool

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A number is what the pool knows of one port number: its ports by local address.
type number struct {
	ports map[netip.Addr]*port
}

// A port is what the pool knows of one local address and port.
type port struct {
	addr    netip.AddrPort
	open    *listening          // nil unless a lease is pending
	leases  map[*Lease]struct{} // those whose key is not free
	keys    index[*cell]        // the same by their networks
	pending int                 // of them
	classes []class             // of the pending ones that read headers

	busyUntil time.Time // another program has it; zero if none
	busyCause error
}

// A cell is the leases of one port and network.
type cell struct {
	plain []*Lease
	owned map[uint64]*Lease // by owner, where connections name theirs
	// pendingOwned of the owned ones are pending; they are alike.
	pendingOwned int
	alike        any
}

// A class is leases whose headers are read alike and come through the same proxies.
type class struct {
	alike   any
	header  func(net.Conn) (net.Conn, netip.Addr, error)
	through []netip.Prefix
	leases  int
	pending int // of them
}

// The causes of a port that is not usable because of other leases of ours, of
// whatever peer, which will end.
var (
	errBlocked = errors.New("portpool: leases of another configuration are in the way")
	errOverlap = fmt.Errorf("%w: they listen at another address", errBlocked)
	errUnlike  = fmt.Errorf("%w: they have connections identified in another way", errBlocked)
)

// portAt returns what is known of addr; with make_ it is never nil.
func (p *Pool) portAt(addr netip.AddrPort, make_ bool) *port {
	n := p.numbers[addr.Port()]
	if n == nil {
		if !make_ {
			return nil
		}
		n = &number{ports: make(map[netip.Addr]*port)}
		p.numbers[addr.Port()] = n
	}
	pt := n.ports[addr.Addr()]
	if pt == nil && make_ {
		pt = &port{addr: addr, leases: make(map[*Lease]struct{})}
		n.ports[addr.Addr()] = pt
	}
	return pt
}

// forget drops a port that there is nothing more to say about.
func (p *Pool) forget(pt *port) {
	if pt.open != nil || len(pt.leases) > 0 || !pt.busyUntil.IsZero() {
		return
	}
	n := p.numbers[pt.addr.Port()]
	if n == nil || n.ports[pt.addr.Addr()] != pt {
		return
	}
	if delete(n.ports, pt.addr.Addr()); len(n.ports) == 0 {
		delete(p.numbers, pt.addr.Port())
	}
}

// sharing calls do for the ports that take connections for addr, too: the port
// itself, and, because a wildcard and an address in it are one, the wildcard's
// or all single addresses'. It returns what do did last.
func (p *Pool) sharing(addr netip.AddrPort, do func(*port) bool) bool {
	n := p.numbers[addr.Port()]
	if n == nil {
		return true
	}
	local := addr.Addr()
	if local.IsUnspecified() {
		for at, pt := range n.ports {
			if at.Is4() == local.Is4() && !do(pt) {
				return false
			}
		}
		return true
	}
	all := netip.IPv6Unspecified()
	if local.Is4() {
		all = netip.IPv4Unspecified()
	}
	for _, at := range [2]netip.Addr{local, all} {
		if pt := n.ports[at]; pt != nil && !do(pt) {
			return false
		}
	}
	return true
}

// keyFree tells whether no lease is alive at addr that one connection could be
// meant for as well as for r. errUnlike: because of how r's are identified.
func (p *Pool) keyFree(addr netip.AddrPort, r *Request) (free bool, err error) {
	free = p.sharing(addr, func(pt *port) bool {
		if pt.unlike(r) {
			err = errUnlike
		}
		return r.networks(func(n netip.Prefix) bool {
			return pt.keys.overlapping(n, func(c *cell) bool {
				if c.pendingOwned > 0 && r.Prove != nil && c.alike != r.Alike {
					err = errUnlike
				}
				return !c.collides(r)
			})
		})
	})
	return free, err
}

// collides tells whether a lease of the cell has a key in common with r, whose
// networks overlap the cell's.
func (c *cell) collides(r *Request) bool {
	switch {
	case len(c.plain) > 0:
		return true
	case r.Prove == nil:
		return len(c.owned) > 0
	}
	_, taken := c.owned[r.Owner]
	return taken
}

// unlike tells whether a connection that brings a header for one of r and the port's
// leases may bring another, or none, for the other.
func (pt *port) unlike(r *Request) bool {
	if r.Header == nil {
		return slices.ContainsFunc(pt.classes, func(c class) bool {
			return !r.networks(func(n netip.Prefix) bool { return !slices.ContainsFunc(c.through, n.Overlaps) })
		})
	}
	return slices.ContainsFunc(pt.classes, func(c class) bool {
		return c.pending > 0 && c.alike != r.Alike && overlap(c.through, r.Through)
	}) || slices.ContainsFunc(r.Through, func(n netip.Prefix) bool {
		return !pt.keys.overlapping(n, func(c *cell) bool { return !c.bare() })
	})
}

// bare tells whether connections of the cell may come without a header.
func (c *cell) bare() bool {
	for _, l := range c.owned {
		if l.request.Header == nil {
			return true
		}
	}
	return slices.ContainsFunc(c.plain, func(l *Lease) bool { return l.request.Header == nil })
}

// owing is a lease of the cell that a connection of its network may be for, if that one
// proves it; nil: there is none.
func (c *cell) owing(v *visit) *Lease {
	if c.pendingOwned == 0 {
		return nil
	}
	for _, l := range c.owned {
		if l.pending() && v.cameFor(l) {
			return l
		}
	}
	return nil
}

// add files a lease that is pending now.
func (pt *port) add(l *Lease) {
	r := &l.request
	pt.leases[l] = struct{}{}
	r.networks(func(n netip.Prefix) bool {
		c, ok := pt.keys.at(n)
		if !ok {
			c = new(cell)
			pt.keys.put(n, c)
		}
		if r.Prove == nil {
			c.plain = append(c.plain, l)
			return true
		}
		if c.owned == nil {
			c.owned = make(map[uint64]*Lease)
		}
		c.owned[r.Owner] = l
		c.alike = r.Alike
		c.pendingOwned++
		return true
	})
	pt.pending++
	if r.Header == nil {
		return
	}
	if pt.classOf(r) == nil {
		pt.classes = append(pt.classes, class{alike: r.Alike, header: r.Header, through: r.Through})
	}
	c := pt.classOf(r)
	c.leases++
	c.pending++
}

// settled notes that a lease is no longer pending. Its key stays.
func (pt *port) settled(l *Lease) {
	r := &l.request
	if pt.pending--; r.Prove != nil {
		r.networks(func(n netip.Prefix) bool {
			if c, ok := pt.keys.at(n); ok {
				c.pendingOwned--
			}
			return true
		})
	}
	if r.Header != nil {
		pt.classOf(r).pending--
	}
}

// classOf is the class of a request that reads headers; nil: there is none yet.
func (pt *port) classOf(r *Request) *class {
	i := slices.IndexFunc(pt.classes, func(c class) bool {
		return c.alike == r.Alike && slices.Equal(c.through, r.Through)
	})
	if i < 0 {
		return nil
	}
	return &pt.classes[i]
}

// remove takes a lease that is not pending off the port.
func (pt *port) remove(l *Lease) {
	delete(pt.leases, l)
	if l.request.Header != nil {
		pt.classOf(&l.request).leases--
		pt.classes = slices.DeleteFunc(pt.classes, func(c class) bool { return c.leases == 0 })
	}
	l.request.networks(func(n netip.Prefix) bool {
		c, ok := pt.keys.at(n)
		if !ok {
			return true
		}
		if l.request.Prove == nil {
			i := slices.Index(c.plain, l)
			c.plain = slices.Delete(c.plain, i, i+1)
		} else {
			delete(c.owned, l.request.Owner)
		}
		if len(c.plain) == 0 && len(c.owned) == 0 {
			pt.keys.remove(n)
		}
		return true
	})
}

// overlapping finds an open port of another local address that takes
// connections for addr, or the reverse. The kernel may let both listen, and then
// prefers the single address.
func (p *Pool) overlapping(addr netip.AddrPort) (other netip.AddrPort) {
	p.sharing(addr, func(pt *port) bool {
		if pt.open != nil && pt.addr != addr {
			other = pt.addr
		}
		return !other.IsValid()
	})
	return other
}
