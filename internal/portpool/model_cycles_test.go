package portpool

import (
	"net/netip"
	"time"
)

// What clients make of the addresses that they are told.

// rest waits, and goes on.
func (c *client) rest() {
	c.on = nil
	d := c.span(5 * time.Second)
	switch {
	case c.chance(40):
		d = 0
	case c.chance(5):
		d = c.span(20 * time.Minute)
	}
	c.after(d, func() {
		if !c.over {
			c.cycle()
		}
	})
}

// cycle is one data connection, or what the client makes of it. It begins when the
// client has read the replies to all that it sent.
func (c *client) cycle() {
	if c.chance(4) || c.at() > c.end {
		c.goAway()
		return
	}
	do := [](func()){c.prompt, c.prompt, c.prompt, c.after150, c.silent, c.late, c.pipeline, c.pipelineTwo,
		c.pipelineNext, c.cancel, c.abort, c.vanish, c.keepAlive}[c.rand.IntN(13)]
	if len(c.session.request.Others) > 0 && c.chance(50) {
		do = c.partner
	}
	do()
}

// goAway ends the control connection: by QUIT, FIN or RST.
func (c *client) goAway() {
	if c.chance(30) {
		c.send(quit)
		return
	}
	c.hangUp() // Its attempts end before it does.
	at := c.sent()
	c.after(time.Until(at), c.session.ends)
	c.stop()
}

// final is what comes after a transfer, or instead of it.
func final(r reply) bool { return r.code == 226 || r.code == 425 || r.code == 426 || r.code == 550 }

// finish goes on after a final reply. A refusal ends nothing: the next transfer may be
// tried on the same connection.
func (c *client) finish(r reply) {
	if r.code == 550 && c.attempt != nil && c.chance(50) {
		c.send(retr)
		return
	}
	c.hangUp()
	c.rest()
}

// prompt connects as soon as it is told.
func (c *client) prompt() {
	c.on = func(r reply) {
		switch {
		case r.code == 227:
			c.connect(r.promise)
			if c.chance(50) {
				c.send(retr)
				return
			}
			sent := false
			c.attempt.up = func() {
				if !sent && !c.over {
					sent = true
					c.send(retr)
				}
			}
			c.after(20*time.Second, func() {
				if a := c.attempt; !sent && !c.over && a != nil && a.promise == r.promise {
					sent = true
					c.cancelled()
				}
			})
		case final(r):
			c.finish(r)
		}
	}
	c.send(pasv)
}

// cancelled gives up and goes on, without a word of its own.
func (c *client) cancelled() {
	c.hangUp()
	c.on = nil
	c.cycle()
}

// after150 connects once the transfer was accepted.
func (c *client) after150() {
	var p *promise
	c.on = func(r reply) {
		switch {
		case r.code == 227:
			p = r.promise
			c.send(retr)
		case r.code == 150 && p != nil && c.attempt == nil:
			c.connect(p)
		case final(r):
			c.hangUp()
			c.rest()
		}
	}
	c.send(pasv)
}

// silent does nothing with what it was told.
func (c *client) silent() {
	c.on = func(r reply) {
		if r.code == 227 {
			c.after(c.span(2*time.Minute), func() {
				if !c.over {
					c.cancelled()
				}
			})
			return
		}
		c.rest()
	}
	c.send(pasv)
}

// late connects when nobody expects it any more.
func (c *client) late() {
	c.on = func(r reply) {
		switch {
		case r.code == 227:
			d := 20*time.Second + c.span(time.Minute)
			if c.chance(30) {
				d = c.span(3 * time.Hour)
			}
			c.after(d, func() {
				if c.over {
					return
				}
				c.connect(r.promise)
				c.after(c.span(10*time.Second), func() {
					if !c.over {
						c.send(retr)
					}
				})
			})
		case final(r):
			c.hangUp()
			c.rest()
		}
	}
	c.send(pasv)
}

// pipeline sends everything before it reads anything.
func (c *client) pipeline() {
	n := 0
	c.on = func(r reply) {
		switch {
		case r.code == 227:
			c.connect(r.promise)
		case r.code == 200:
			c.hangUp()
			c.rest()
		case final(r):
			if n++; r.code != 550 {
				c.hangUp()
			}
		}
	}
	c.send(pasv, retr, noop)
}

// pipelineTwo asks for two addresses at once and connects to both, one after the other.
func (c *client) pipelineTwo() {
	told := 0
	c.on = func(r reply) {
		switch {
		case r.code == 227, r.code == 425 && told < 2:
			c.hangUp()
			if r.code == 227 {
				c.connect(r.promise)
			}
			if told++; told == 2 {
				c.send(retr)
			}
		case final(r):
			c.hangUp()
			c.rest()
		}
	}
	c.send(pasv, pasv)
}

// pipelineNext asks for the next address after the transfer.
func (c *client) pipelineNext() {
	state := 0
	c.on = func(r reply) {
		switch {
		case state == 0 && r.code == 227:
			state = 1
			c.connect(r.promise)
			c.send(retr, pasv)
		case state == 0:
			c.rest()
		case state == 1 && final(r):
			state = 2
			c.hangUp()
		case state == 2 && r.code == 227:
			state = 3
			c.connect(r.promise)
			c.send(retr)
		case state == 2 || state == 3 && final(r):
			c.hangUp()
			c.rest()
		}
	}
	c.send(pasv)
}

// cancel closes its attempt and asks for another address.
func (c *client) cancel() {
	c.on = func(r reply) {
		if r.code != 227 {
			c.rest()
			return
		}
		c.connect(r.promise)
		d := c.span(50 * time.Millisecond)
		if c.chance(50) {
			d = c.span(20 * time.Second)
		}
		c.after(d, func() {
			if !c.over {
				c.cancelled()
			}
		})
	}
	c.send(pasv)
}

// abort breaks the transfer off, which has one final reply or two.
func (c *client) abort() {
	finals, sent := 0, false
	c.on = func(r reply) {
		switch {
		case r.code == 227:
			if c.chance(70) {
				c.connect(r.promise)
			}
			c.send(retr)
			c.after(c.span(5*time.Second), func() {
				if sent = true; !c.over {
					c.send(abor, noop)
				}
			})
		case r.code == 200:
			c.hangUp()
			c.rest()
		case final(r):
			if finals++; r.code != 550 || sent || finals > 1 {
				c.hangUp()
			} // The ABOR comes nevertheless.
		}
	}
	c.send(pasv)
}

// vanish is a host that dies, or a path that is cut. The session finds out later.
func (c *client) vanish() {
	if c.chance(60) {
		c.prompt()
		return
	}
	c.on = func(r reply) {
		if r.code != 227 {
			c.rest()
			return
		}
		if c.chance(50) {
			c.connect(r.promise)
		}
		c.after(c.span(10*time.Second), func() {
			if c.over {
				return
			}
			c.stop()
			c.after(c.span(10*time.Minute), c.session.lost)
		})
	}
	c.send(pasv)
}

// keepAlive says something from time to time.
func (c *client) keepAlive() {
	c.on = func(reply) { c.rest() }
	c.send(noop)
}

// partner gives the address to another server, which connects when it likes.
func (c *client) partner() {
	c.on = func(r reply) {
		switch {
		case r.code == 227:
			a := &attempt{world: c.world, promise: r.promise, foreign: true, from: netip.MustParseAddr("203.0.113.9")}
			a.to = netip.AddrPortFrom(c.to, r.promise.lease.Addr().Port())
			if c.session.proxied {
				a.from, a.proxied = proxy.Addr(), netip.MustParseAddr("203.0.113.9")
			}
			d := c.span(3 * time.Second)
			if c.chance(50) {
				d = c.span(60 * time.Second)
			}
			c.after(d, a.open)
			c.after(d+c.span(time.Minute), a.close)
			if c.chance(70) {
				c.send(retr)
				return
			}
			c.after(c.span(20*time.Second), func() {
				if !c.over {
					c.cancelled()
				}
			})
		case final(r):
			c.rest()
		}
	}
	c.send(pasv)
}
