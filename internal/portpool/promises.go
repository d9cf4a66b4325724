package portpool

import "slices"

// Promises are the ports that the two peers of one owner were told of. A peer may be on
// its way to such a port, and nobody else may be given that way before it is known that
// the peer is not. The owner says what it hears from its peers and writes to them, and
// Promises tell the pool what follows: that a peer has moved on, or was told that nobody
// waits (docs/decisions/0004-whose-a-connection-is.md).
//
// The zero value is ready. All methods are for one goroutine, but what Evictor returns.
type Promises struct {
	client []clientPromise
	server []serverPromise
	// pipelines: the client has sent a command before it was answered.
	pipelines bool
	evict     chan struct{} // asks the owner to leave; nil: it never promised anything
}

// A clientPromise is a port that the client was told of and whose connection was not
// there yet when that was last looked at.
type clientPromise struct {
	lease *Lease
	// told: the client heard since that nobody waits.
	told bool
	// silent: it had the time that it was promised, and let it pass.
	silent bool
	// mark counts what had been read from the client when the last word about the
	// promise was written to it; -1: it is not written yet. A command that was read
	// before proves nothing.
	mark int
}

// A serverPromise is a port that the server was told of.
type serverPromise struct {
	lease *Lease
	// asked: it was sent a command that may use the port.
	asked bool
}

// Evictor is for Request.Evict: what the pool calls when others need the port of a
// silent client.
func (p *Promises) Evictor() func() {
	if p.evict == nil {
		p.evict = make(chan struct{}, 1)
	}
	evict := p.evict
	return func() {
		select {
		case evict <- struct{}{}:
		default:
		}
	}
}

// Evicted receives when the pool asks the owner to leave.
func (p *Promises) Evicted() <-chan struct{} { return p.evict }

// Client is called when the reply that names the port is about to be written.
func (p *Promises) Client(l *Lease) {
	l.promise()
	p.client = append(p.client, clientPromise{lease: l, mark: -1})
}

// Server is called before the command that names the port is written.
func (p *Promises) Server(l *Lease) {
	l.promise()
	if !slices.ContainsFunc(p.server, func(s serverPromise) bool { return s.lease == l }) {
		p.server = append(p.server, serverPromise{lease: l})
	}
}

// ServerAsked is called before a command is sent that may use a data connection.
func (p *Promises) ServerAsked() {
	if n := len(p.server); n > 0 {
		p.server[n-1].asked = true
	}
}

// forgetMet forgets the promises whose connection has come.
func (p *Promises) forgetMet() {
	p.client = slices.DeleteFunc(p.client, func(c clientPromise) bool { return !c.lease.isUnmet() })
}

// ClientTold says that a reply that is about to be written tells the client that nobody
// waits for its connections. The reply to a command that made a promise void is one, too:
// if the command came too early to prove anything, the next one does.
func (p *Promises) ClientTold() {
	p.forgetMet()
	for i := range p.client {
		if c := &p.client[i]; !c.told {
			c.told, c.silent, c.mark = true, false, -1
			c.lease.told()
		}
	}
}

// Unwritten tells whether Written is due: a word about a promise is not marked yet.
func (p *Promises) Unwritten() bool {
	return slices.ContainsFunc(p.client, func(c clientPromise) bool { return c.mark < 0 })
}

// Written is called after that word was written to the client. mark counts what had been
// read from the client by then.
func (p *Promises) Written(mark int) {
	for i := range p.client {
		if c := &p.client[i]; c.mark < 0 {
			c.mark = mark
		}
	}
}

// ClientPipelines says that the client does not wait for replies: from now on its
// commands prove nothing.
func (p *Promises) ClientPipelines() { p.pipelines = true }

// over tells whether a command that was read at mark ends the promise: the client that was
// told that nobody waits, or that asks for another data connection (setup), has ended its
// attempt, if it knew when it sent the command.
func (c *clientPromise) over(mark int, setup bool) bool {
	return c.mark >= 0 && mark > c.mark && (c.told || setup)
}

// ClientMayMoveOn tells whether ClientMovedOn would say of any promise that it is over.
func (p *Promises) ClientMayMoveOn(mark int, setup bool) bool {
	if len(p.client) == 0 || p.pipelines {
		return false
	}
	p.forgetMet()
	return slices.ContainsFunc(p.client, func(c clientPromise) bool { return c.over(mark, setup) })
}

// ClientMovedOn takes a command of the client, which knew what had become of its promises
// if they are over by it. mark is when the command was read, as in Written.
func (p *Promises) ClientMovedOn(mark int, setup bool) {
	p.client = slices.DeleteFunc(p.client, func(c clientPromise) bool {
		if !c.over(mark, setup) {
			return false
		}
		c.lease.movedOn()
		return true
	})
}

// ServerMovedOn is called while no command is under way: the server has finally
// answered all of them, so it does not connect any more to what it was told, except to
// next, which was agreed on last. next may be nil.
func (p *Promises) ServerMovedOn(next *Lease) {
	p.server = slices.DeleteFunc(p.server, func(s serverPromise) bool {
		switch {
		case s.lease == next:
			return false
		case s.asked:
			s.lease.movedOn()
		default: // It dials for a transfer, or (pyftpdlib) at once, and has done so then.
			s.lease.withdraw()
		}
		return true
	})
}

// ClientSilent says that the client has let its promises pass.
func (p *Promises) ClientSilent() {
	for i := range p.client {
		c := &p.client[i]
		c.silent = !c.told
		c.lease.fallSilent()
	}
}

// Silent tells whether the client is silent about a promise, and has not moved on
// meanwhile.
func (p *Promises) Silent() bool {
	p.forgetMet()
	return slices.ContainsFunc(p.client, func(c clientPromise) bool { return c.silent })
}

// End is called at the end of the owner, whose last reply is about to be written or has
// failed.
func (p *Promises) End() {
	p.ClientTold()
	for _, s := range p.server {
		s.lease.told()
	}
}

// ClientLeft says that the client has ended its control connection itself, so it has
// ended its attempts, too.
func (p *Promises) ClientLeft() {
	for _, c := range p.client {
		c.lease.movedOn()
	}
}

// ServerLeft says so of the server.
func (p *Promises) ServerLeft() {
	for _, s := range p.server {
		s.lease.movedOn()
	}
}
