package portpool

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"ftproxy/internal/tcp"
)

// Guests are connections that are here before anybody knows for whom. They cost a
// descriptor and a goroutine each, so they are bounded; where a bound is reached
// the oldest makes room, because a stranger that is silent must not take the
// place of a peer that comes after it.
const (
	// maxUnproven is how many connections of one peer on one port wait to prove
	// whose they are, beyond one for each lease that it has there.
	maxUnproven = 16
	// maxHeaders is how many connections of one proxy have sent no header yet.
	maxHeaders = 1024
)

// A guest is a connection that is being identified.
type guest struct {
	conn net.Conn
	at   *listening
	from netip.Addr // whose place it takes
	gone bool       // it was sent away
}

// awaitHeader has the header read of a connection that a proxy brought, and then has
// meet find the lease of the client that the header names.
func (p *Pool) awaitHeader(o *listening, v visit, read func(net.Conn) (net.Conn, netip.Addr, error)) {
	conn, through := v.conn, v.peer
	if most := p.headers[through]; len(most) >= maxHeaders {
		p.Events.Crowded(o.port.addr, through)
		p.sendAway(most[0])
	}
	g := &guest{conn: conn, at: o, from: through}
	p.headers[through] = append(p.headers[through], g)
	o.headed[g] = struct{}{}
	p.running.Add(1)
	p.Spawn(func() {
		defer p.running.Done()
		known, peer, err := read(conn)
		p.mu.Lock()
		defer p.mu.Unlock()
		if g.gone {
			return
		}
		p.removeGuest(g)
		if err != nil {
			tcp.Reset(conn)
			return
		}
		now := time.Now()
		v.conn, v.peer, v.through = known, peer.Unmap().WithZone(""), through
		p.meet(o, v, now)
		p.finish(now)
	})
}

// awaitProof has prove tell the owner of a peer's connection, and then has proven find the
// owner's lease. due is how many of the peer's leases are pending.
func (p *Pool) awaitProof(o *listening, v visit, prove func(net.Conn) (net.Conn, uint64, error), due int) {
	if mine := o.unproven[v.peer]; len(mine) >= maxUnproven+due {
		p.Events.Crowded(o.port.addr, v.peer)
		p.sendAway(mine[0])
	}
	g := &guest{conn: v.conn, at: o, from: v.peer}
	o.unproven[v.peer] = append(o.unproven[v.peer], g)
	p.running.Add(1)
	p.Spawn(func() {
		defer p.running.Done()
		known, owner, err := prove(v.conn)
		p.mu.Lock()
		defer p.mu.Unlock()
		if g.gone {
			return
		}
		p.removeGuest(g)
		now := time.Now()
		if err != nil {
			tellRefused(o, &v, err)
			tcp.Reset(v.conn)
		} else {
			v.conn = known
			p.proven(o, v, owner, now)
		}
		p.finish(now)
	})
}

// proven gives a connection to the lease of its owner.
func (p *Pool) proven(o *listening, v visit, owner uint64, now time.Time) {
	var mine []*Lease
	o.port.keys.containing(v.peer, func(c *cell) bool {
		if l := c.owned[owner]; l != nil && v.fits(l) && !slices.Contains(mine, l) {
			mine = append(mine, l)
		}
		return true
	})
	switch len(mine) {
	case 0:
		p.turnAway(o, v, owner, now)
	case 1:
		p.deliver(mine[0], v.conn, now)
	default:
		p.ambiguous(o, mine, v, now)
	}
}

// tellRefused tells the one for whom a refused connection of a peer must have been.
// Where there are several, one whose client is at fault must not cost the others
// theirs.
func tellRefused(o *listening, v *visit, why error) {
	var only *Lease
	several := false
	o.port.keys.containing(v.peer, func(c *cell) bool {
		if l := c.owing(v); l != nil {
			several = several || c.pendingOwned > 1 || only != nil && only != l
			only = l
		}
		return true
	})
	if only != nil && !several && only.request.Refused != nil {
		only.request.Refused(why)
	}
}

// removeGuest takes a guest off the list that it is on; its connection stays open.
func (p *Pool) removeGuest(g *guest) {
	if _, ok := g.at.headed[g]; ok {
		delete(g.at.headed, g)
		p.headers[g.from] = without(p.headers[g.from], g)
		if len(p.headers[g.from]) == 0 {
			delete(p.headers, g.from)
		}
		return
	}
	g.at.unproven[g.from] = without(g.at.unproven[g.from], g)
	if len(g.at.unproven[g.from]) == 0 {
		delete(g.at.unproven, g.from)
	}
}

func without(guests []*guest, g *guest) []*guest {
	i := slices.Index(guests, g)
	return slices.Delete(guests, i, i+1)
}

// sendAway resets a guest.
func (p *Pool) sendAway(g *guest) {
	p.removeGuest(g)
	g.gone = true
	tcp.Reset(g.conn)
}

// dismissUnproven sends away the guests who came for a lease that has ended, if their
// peer has none left that they could be for.
func (p *Pool) dismissUnproven(o *listening, ended *Request) {
	if len(o.unproven) == 0 || ended.Prove == nil {
		return
	}
	check := func(peer netip.Addr) {
		if o.port.keys.containing(peer, func(c *cell) bool { return c.pendingOwned == 0 }) {
			for _, g := range slices.Clone(o.unproven[peer]) {
				p.sendAway(g)
			}
		}
	}
	if ended.Peer.IsSingleIP() && len(ended.Others) == 0 {
		check(ended.Peer.Addr())
		return
	}
	for peer := range o.unproven {
		if ended.admits(peer) {
			check(peer)
		}
	}
}
