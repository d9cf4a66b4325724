package portpool

import "net/netip"

// debts is the leases of one network whose promise is over and was not met.
type debts struct {
	leases   map[*Lease]struct{}
	mayLeave int // of them are those of silent owners who were not asked to leave
}

// owe files a lease whose promise is over, and forgive takes it out again.
func (p *Pool) owe(l *Lease) {
	l.owes = true
	l.request.networks(func(n netip.Prefix) bool {
		d, ok := p.debts.at(n)
		if !ok {
			d = &debts{leases: make(map[*Lease]struct{})}
			p.debts.put(n, d)
		}
		d.leases[l] = struct{}{}
		return true
	})
}

func (p *Pool) forgive(l *Lease) {
	if !l.owes {
		return
	}
	p.setMayLeave(l, false)
	l.owes = false
	l.request.networks(func(n netip.Prefix) bool {
		d, _ := p.debts.at(n)
		if delete(d.leases, l); len(d.leases) == 0 {
			p.debts.remove(n)
		}
		return true
	})
}

// setMayLeave notes whether the owner of a lease may be asked to leave.
func (p *Pool) setMayLeave(l *Lease, may bool) {
	if l.mayLeave == may {
		return
	}
	l.mayLeave = may
	n := 1
	if !may {
		n = -1
	}
	p.mayLeave += n
	l.request.networks(func(network netip.Prefix) bool {
		d, _ := p.debts.at(network)
		d.mayLeave += n
		return true
	})
}

// relieve asks the owners of silent leases to leave, the most silent first, as far as
// those who wait for the networks of r need more keys than will be free soon.
func (p *Pool) relieve(r *Request) {
	if p.waiting == 0 || p.mayLeave == 0 {
		return
	}
	given := make(map[*Lease]bool) // the key is for one who waits already
	var nobody netip.Prefix        // a peer in whose way nobody is who may leave
	for _, w := range p.waitersFor(r) {
		if w.request.Peer == nobody && len(w.request.Others) == 0 {
			continue
		}
		if w.request.networks(func(n netip.Prefix) bool {
			return p.debts.overlapping(n, func(d *debts) bool { return d.mayLeave == 0 })
		}) {
			nobody = w.request.Peer
			continue
		}
		var soon, longest *Lease
		w.request.networks(func(n netip.Prefix) bool {
			return p.debts.overlapping(n, func(d *debts) bool {
				for l := range d.leases {
					switch {
					case given[l] || !w.needs(l):
					case l.evicted || l.soon:
						soon = l
						return false
					case l.mayLeave && (longest == nil || l.promised.Before(longest.promised)):
						longest = l
					}
				}
				return true
			})
		})
		if soon == nil && longest != nil {
			soon = longest
			p.evict(soon)
		}
		if soon != nil {
			given[soon] = true
		}
	}
}

func (p *Pool) evict(l *Lease) {
	p.setMayLeave(l, false)
	l.evicted = true
	p.Events.Evicted(l.request)
	l.request.Evict()
}

// needs tells whether the key of a lease is in the way of one who waits for its networks.
func (w *waiter) needs(l *Lease) bool {
	r := &l.request
	return w.wants(l.port) && (r.Prove == nil || w.request.Prove == nil || r.Owner == w.request.Owner)
}
