package portpool

import (
	"errors"
	"net/netip"
	"slices"
	"time"
)

// errOverlap is the cause of a port that is busy because of another of ours, which
// will be free. Leases there do not expire for those who wait here: they may be of
// any peer.
var errOverlap = errors.New("portpool: a listener of another configuration is in the way")

// overlapping finds an open port of ours that takes connections for addr, or the
// reverse: the one is a wildcard and the other a single address of its family. A
// configuration has no such ports, but two that follow each other may.
func (p *Pool) overlapping(addr netip.AddrPort) netip.AddrPort {
	if !addr.Addr().IsUnspecified() {
		all := netip.IPv4Unspecified()
		if addr.Addr().Is6() {
			all = netip.IPv6Unspecified()
		}
		if pt := p.ports[netip.AddrPortFrom(all, addr.Port())]; pt != nil && pt.open != nil {
			return pt.addr
		}
		return netip.AddrPort{}
	}
	for _, pt := range p.ports {
		if pt.open != nil && pt.addr.Port() == addr.Port() && pt.addr != addr && pt.addr.Addr().Is4() == addr.Addr().Is4() {
			return pt.addr
		}
	}
	return netip.AddrPort{}
}

// unblock offers the ports that pt was in the way of, once it does not listen.
func (p *Pool) unblock(pt *port, now time.Time) {
	if pt.open != nil {
		return
	}
	for i := 0; i < len(p.busy); {
		b := p.busy[i].port
		if b == pt || b.addr.Port() != pt.addr.Port() || !errors.Is(b.busyCause, errOverlap) || p.overlapping(b.addr).IsValid() {
			i++
			continue
		}
		p.busy = slices.Delete(p.busy, i, i+1)
		b.busyUntil, b.busyCause = time.Time{}, nil
		p.offer(b, nil, now)
		p.forget(b)
	}
}
