package portpool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// portWait is how long a request waits, and dataConnect how long a session waits for
// the connection that it promised.
const (
	portWait    = 5 * time.Second
	dataConnect = 30 * time.Second
)

// A promise is a lease as the model sees it: what its session said of it, and what
// became of the connections that were opened for it.
type promise struct {
	*world
	lease   *Lease
	request Request
	number  int
	session *session // nil: it is a server's
	at      time.Time
	reply   int // which of the session's replies told it
	final   int // the reply that told that nobody waits; 0: none

	silent, evicted bool
	done            bool // its key is free
	safe            bool // it may be, by the rule
	over            bool // its session waits no more
	here            bool // a connection was delivered
	met             bool // and nobody tries again
	conn            net.Conn
	// Of a connection that a relay has brought, and that was taken: when, when it was
	// closed, and whether it was whole.
	takenAt, closedAt time.Time
	heard             bool
	// When its session said so, and when a connection for it was reset after its end.
	told, moved, reset, lastReset time.Time
}

func (p *promise) String() string {
	who := "server"
	if p.session != nil {
		who = fmt.Sprint("session ", p.session.id)
	}
	return fmt.Sprintf("promise %d of %s at %v", p.number, who, p.lease.Addr())
}

// waits tells whether a connection would be delivered.
func (p *promise) waits() bool { return !p.over && !p.here }

// owed tells whether a connection may still come, or come again.
func (p *promise) owed() bool { return !p.over && !p.met }

// newPromise enters a lease that has just been lent.
func (w *world) newPromise(l *Lease, s *session) *promise {
	w.tally.promises++
	p := &promise{world: w, lease: l, request: l.request, number: w.tally.promises, session: s}
	w.checkLent(p)
	w.ledger = append(w.ledger, p)
	return p
}

// promise is done before the address is written.
func (p *promise) promise() {
	p.at = time.Now()
	p.lease.promise()
	p.note("%v", p)
}

// accept waits for the connection on a goroutine of its own.
func (p *promise) accept(got func(*modelConn)) {
	go func() {
		conn, err := p.lease.Accept(context.Background())
		p.post(p.number, func() {
			if err == nil {
				got(p.receive(conn))
			}
		})
	}()
}

// receive is the heart of the matter: whose connection is it?
func (p *promise) receive(conn net.Conn) *modelConn {
	c := conn.(*modelConn)
	c.taken = true
	p.takenAt = time.Now()
	p.here, p.met, p.conn = true, true, c
	p.tally.served++
	p.note("%v is served", c)
	if c.promise != p {
		p.fault("a connection is delivered to the lease that it was opened for", "%v came to %v", c, p)
	}
	return c
}

// peek looks whether there is a connection that the session did not take yet.
func (p *promise) peek() {
	if !p.waits() {
		return
	}
	p.lease.pool.mu.Lock()
	conn, state := p.lease.conn, p.lease.state
	p.met = p.lease.used()
	p.lease.pool.mu.Unlock()
	p.here = state == delivered || state == taken
	if conn == nil {
		return
	}
	c := conn.(*modelConn)
	c.taken = p.met // It is assumed that nobody but a relay tries again who got so far.
	if c.promise != p {
		p.fault("a connection is delivered to the lease that it was opened for", "%v came to %v, which did not take it", c, p)
	}
}

// giveUp closes a lease that was not promised.
func (p *promise) giveUp() {
	p.over, p.done = true, true
	p.lease.Close()
}

func (p *promise) close() {
	p.peek()
	p.over = true
	p.note("%v is closed", p)
	p.lease.Close()
}

func (p *promise) tell() {
	p.peek()
	p.latch()
	p.over = true
	if p.told.IsZero() {
		p.told = time.Now()
	}
	p.note("%v is told", p)
	p.lease.told()
	p.drop()
}

func (p *promise) moveOn() {
	p.peek()
	p.latch()
	p.over = true
	if p.moved.IsZero() {
		p.moved = time.Now()
	}
	p.note("%v has moved on", p)
	p.lease.movedOn()
	p.drop()
}

func (p *promise) beSilent() {
	p.peek()
	p.over, p.silent = true, true
	p.tally.withheld++
	p.note("%v is silent", p)
	p.lease.fallSilent()
	p.drop()
}

// drop closes a connection that came and that nobody took.
func (p *promise) drop() {
	p.lease.pool.mu.Lock()
	p.met = p.met || p.lease.used()
	p.lease.pool.mu.Unlock()
	p.lease.Close()
}

// wasReset notes that the pool reset a connection that was opened for the promise.
func (p *promise) wasReset(c *modelConn) {
	p.latch()
	p.lastReset = time.Now()
	if p.peek(); p.waits() && c.inTime {
		p.fault("who connects in time is served", "%v is reset", c)
	}
	if p.over && !p.met && p.reset.IsZero() {
		p.reset = time.Now()
	}
	p.latch()
}

// latch notes that the key may be free, whatever is said of it later.
func (p *promise) latch() {
	if at, ok := p.endsAt(true); ok && !time.Now().Before(at) {
		p.safe = true
	}
}

// endsAt is from when on the key may be lent again, by the rule; ok is false if
// nothing ends it. fromReset is the end of what a reset leaves.
func (p *promise) endsAt(withResets bool) (at time.Time, ok bool) {
	short := Short
	if len(p.request.Others) > 0 {
		short = Long
	}
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if !p.told.IsZero() {
		sooner(p.told.Add(Long))
	}
	if !p.moved.IsZero() {
		sooner(p.moved.Add(short))
	}
	if !withResets || p.reset.IsZero() {
		return at, ok
	}
	if sooner(p.reset.Add(Long)); short == Short && !p.lease.relayed() && !p.moved.IsZero() && !p.lastReset.Before(p.moved) {
		sooner(p.lastReset)
	}
	return at, ok
}

// blocks tells (by the time of the pool's own rule) whether the key of the promise may still be somebody's, at least or at most.
func (p *promise) blocks(atMost bool) bool {
	p.peek()
	switch now := time.Now(); {
	case p.done:
		return false
	case p.met && p.lease.relayed():
		p.done = p.mayFree(atMost)
		return !p.done
	case p.met:
		p.done = !p.request.Hold || p.over
		return !p.done
	case !p.over:
		return true
	case atMost:
		// The pool does not learn of every reset, and waits a little after each.
		at, ok := p.endsAt(false)
		if end := p.lastReset.Add(Short); ok && end.After(at) {
			at = end
		}
		p.done = ok && !now.Before(at)
		return !p.done
	default:
		at, ok := p.endsAt(true)
		return !p.safe && (!ok || now.Before(at))
	}
}

// mayFree tells whether the key of a connection that a relay has brought is free.
func (p *promise) mayFree(atMost bool) bool {
	if p.heard || p.takenAt.IsZero() {
		return p.heard
	}
	end := p.takenAt.Add(Short)
	if p.closedAt.Before(end) && !p.closedAt.IsZero() {
		end = p.closedAt.Add(Short)
	}
	if late := p.lastReset.Add(Short); atMost && late.After(end) {
		end = late
	}
	return !time.Now().Before(end)
}

// meets tells whether one connection may be meant for both.
func meets(a, b *Request, atA, atB netip.Addr) bool {
	if atA != atB && !atA.IsUnspecified() && !atB.IsUnspecified() {
		return false
	}
	if a.Prove != nil && b.Prove != nil && a.Owner != b.Owner {
		return false
	}
	return !a.networks(func(n netip.Prefix) bool {
		return b.networks(func(m netip.Prefix) bool { return !n.Overlaps(m) })
	})
}

// checkLent fails if somebody else's connection may come for what was just lent.
func (w *world) checkLent(p *promise) {
	addr := p.lease.Addr()
	if !p.request.Ports.Contains(addr.Port()) || addr.Addr() != p.request.Local {
		w.fault("never a port outside the range", "%v for %v", addr, p.request)
	}
	w.ledger = slices.DeleteFunc(w.ledger, func(o *promise) bool { return o.done })
	for _, o := range w.ledger {
		at := o.lease.Addr()
		if at.Port() == addr.Port() && meets(&o.request, &p.request, at.Addr(), addr.Addr()) && o.blocks(false) {
			end, ok := o.endsAt(true)
			w.fault("leases of one key never overlap", "%v is lent while %v is alive: over %v, told %v, moved on %v, until %v %v",
				p, o, o.over, w.since(o.told), w.since(o.moved), w.since(end), ok)
		}
	}
}

func (w *world) since(t time.Time) time.Duration {
	if t.IsZero() {
		return -1
	}
	return t.Sub(w.start)
}

// A modelWait is a request that asks for a port.
type modelWait struct {
	request Request
	begin   time.Time
	cancel  context.CancelFunc
	done    bool
	served  bool
}

// ask requests a port. got is called with nil when there is none.
func (w *world) ask(r Request, s *session, got func(*promise)) (cancel context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), portWait)
	wait := &modelWait{request: r, begin: time.Now(), cancel: cancel}
	w.requests = append(w.requests, wait)
	w.tally.waits++
	number := w.tally.waits
	go func() {
		l, err := w.pool.Lease(ctx, r)
		after := time.Since(wait.begin)
		w.post(1_000_000+number, func() {
			cancel()
			wait.done, wait.served = true, err == nil
			if after > portWait {
				w.fault("every request ends by its port_wait", "%v", after)
			}
			if err != nil {
				if !errors.Is(err, ErrFull) {
					w.fault("every request is served or ErrFull", "%v", err)
				}
				got(nil)
				return
			}
			got(w.newPromise(l, s))
		})
	}()
	return cancel
}

// checkWaiters fails if somebody waits for nothing, or was overtaken.
func (w *world) checkWaiters() {
	for i, a := range w.requests {
		if !a.served {
			continue
		}
		for _, b := range w.requests[:i] {
			if !b.done && b.begin.Before(a.begin) && b.request.scope() == a.request.scope() && b.request.Alike == a.request.Alike && len(a.request.Others)+len(b.request.Others) == 0 {
				w.fault("first come, first served", "owner %d before owner %d", a.request.Owner, b.request.Owner)
			}
		}
	}
	w.requests = slices.DeleteFunc(w.requests, func(a *modelWait) bool { return a.done })
	for _, a := range w.requests {
		if time.Since(a.begin) < 100*time.Millisecond {
			continue
		}
		leaving, silent := false, false
		for n := int(a.request.Ports.First); n <= int(a.request.Ports.Last); n++ {
			isFree := true
			for _, o := range w.ledger {
				at := o.lease.Addr()
				if int(at.Port()) != n || o.done {
					continue
				}
				if w.unlike(o, &a.request, at.Addr()) {
					isFree = false
					continue
				}
				if !meets(&o.request, &a.request, at.Addr(), a.request.Local) {
					continue
				}
				if blocks := o.blocks(true); blocks {
					isFree = false
				}
				end, ok := o.endsAt(true)
				leaving = leaving || o.evicted || o.over && ok && time.Until(end) <= Short
				silent = silent || o.silent && !o.met && !o.evicted && !ok && o.request.Evict != nil
			}
			if isFree {
				w.fault("nobody waits for what is free", "owner %d waits since %v for %d of %v", a.request.Owner, w.since(a.begin), n, a.request.Peer)
			}
		}
		if silent && !leaving {
			w.fault("the silent make room", "owner %d waits since %v", a.request.Owner, w.since(a.begin))
		}
	}
}

// unlike tells whether a lease of another peer may keep a request from its port, after
// a reload: it listens at another address, or has its connections identified otherwise.
func (w *world) unlike(o *promise, r *Request, at netip.Addr) bool {
	if !o.waits() {
		return false
	}
	if at != r.Local {
		return at.IsUnspecified() || r.Local.IsUnspecified()
	}
	same := o.request.Header != nil && r.Header != nil || o.request.Prove != nil && r.Prove != nil
	return same && o.request.Alike != r.Alike
}
