package portpool

import (
	"net/netip"
	"time"
)

// A client obeys what docs/decisions/0004 assumes of it, and is as awkward as that
// allows.
type client struct {
	*world
	session *session
	from    netip.Addr
	to      netip.Addr
	relay   bool          // data connections come up to lag late
	slow    time.Duration // how late it reads replies

	over     bool // it has nothing more to do with its session
	heard    int  // replies that its kernel has
	lastRead time.Time
	lastSent time.Time
	on       func(reply) // what it does with a reply
	attempt  *attempt
	tries    int
}

var modelPeers = []netip.Addr{
	netip.MustParseAddr("198.51.100.1"), // behind which most clients are
	netip.MustParseAddr("198.51.100.2"),
	netip.MustParseAddr("198.51.100.77"),
}

// arriveClient logs a client in.
func (w *world) arriveClient() {
	if w.at() > w.end {
		return
	}
	c := &client{world: w, from: modelPeers[max(0, w.rand.IntN(6)-3)], to: addressX, relay: w.chance(25)}
	c.slow = []time.Duration{20 * time.Millisecond, time.Second, 20 * time.Second}[w.rand.IntN(3)]
	if w.chance(30) {
		c.to = addressY
	}
	w.owners++
	s := &session{world: w, id: int(w.owners), from: c.from, client: c, proxied: w.chance(20)}
	c.session = s
	r := &s.request
	r.Owner, r.Ports, r.Peer, r.Local = w.owners, w.ports, netip.PrefixFrom(c.from, 32), w.local
	if !r.Local.IsUnspecified() {
		r.Local = c.to
	}
	if w.chance(10) {
		r.Peer = netip.PrefixFrom(c.from, 30)
	}
	if w.chance(10) {
		r.Ports.Last = r.Ports.First
	}
	if w.chance(10) {
		r.Others = []netip.Prefix{foreign}
	}
	if w.chance(95) {
		r.Evict = s.evict
	}
	s.identify()
	*r, _ = r.normal()
	w.sessions[s] = struct{}{}
	w.tally.sessions++
	w.note("session %d from %v: peer %v, local %v, ports %v, relay %v, proxied %v, %+v, %d others", s.id, c.from, r.Peer, r.Local, r.Ports, c.relay, s.proxied, r.Alike, len(r.Others))
	c.cycle()
}

// send sends commands, in one piece.
func (c *client) send(verbs ...verb) {
	at := c.sent()
	heard := c.heard
	c.after(time.Until(at), func() {
		for _, v := range verbs {
			c.session.receive(v, heard)
		}
	})
}

// sent is when what is sent now arrives.
func (c *client) sent() time.Time {
	at := time.Now().Add(c.delay())
	if c.chance(5) {
		at = at.Add(c.span(3 * time.Second))
	}
	if at.Before(c.lastSent) {
		at = c.lastSent
	}
	c.lastSent = at
	return at
}

// hears is a reply that reaches the client's kernel; the client reads it later.
func (c *client) hears(r reply) {
	c.heard++
	at := time.Now().Add(c.span(c.slow))
	if at.Before(c.lastRead) {
		at = c.lastRead
	}
	c.lastRead = at
	c.after(time.Until(at), func() {
		if c.over {
			return
		}
		switch r.code {
		case 0, 221, 421:
			c.stop()
		default:
			if c.on != nil {
				c.on(r)
			}
		}
	})
}

// stop is the end of a client that knows it. Another comes.
func (c *client) stop() {
	if c.over {
		return
	}
	c.over = true
	c.hangUp()
	c.after(c.span(time.Minute), func() { c.arriveClient() })
}

// connect opens a connection for a promise.
func (c *client) connect(p *promise) {
	c.tries = 0
	c.try(&attempt{world: c.world, promise: p, relay: c.relay})
}

func (c *client) try(a *attempt) {
	a.from, a.to = c.from, netip.AddrPortFrom(c.to, a.promise.lease.Addr().Port())
	if c.session.proxied {
		a.from, a.redials = proxy.Addr(), 3
	}
	a.failed = func() { c.retry(a) }
	c.attempt = a
	a.open()
}

// retry tries again after a failure, at once or a little later.
func (c *client) retry(a *attempt) {
	if c.attempt != a || c.over || c.tries > 3 || c.chance(40) {
		return
	}
	c.tries++
	next := &attempt{world: c.world, promise: a.promise, relay: a.relay, up: a.up}
	if p := a.promise; !p.reset.IsZero() {
		next.deadline = p.reset.Add(Long - 100*time.Millisecond) // It was told, by that.
	}
	var d time.Duration
	if c.chance(50) {
		d = c.span(3 * time.Second)
	}
	c.after(d, func() {
		if c.attempt == a && !c.over {
			c.tally.retries++
			c.try(next)
		}
	})
}

// hangUp ends the client's attempt to connect, or its connection.
func (c *client) hangUp() {
	if c.attempt != nil {
		c.attempt.close()
		c.attempt = nil
	}
}
