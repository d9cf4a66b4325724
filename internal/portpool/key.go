package portpool

import (
	"net"
	"time"

	"ftproxy/internal/tcp"
)

// What happens to the key of a lease. All of this is done with the pool locked.

// lend makes a lease for r on pt, whose key must be free. The caller notes it in its
// scope.
func (p *Pool) lend(pt *port, r *Request) *Lease {
	l := &Lease{pool: p, port: pt, request: *r, settled: make(chan struct{})}
	pt.add(l)
	p.Events.Leased(*r)
	return l
}

// deliver hands the peer's connection to the lease, and frees its key. What came through
// a relay may be reset before the relay has seen that it was connected; then the relay
// tries again (HAProxy, up to three times), with all that its client has sent. So such a key
// stays held until the connection is taken, and then cools: see Lease.Heard.
func (p *Pool) deliver(l *Lease, conn net.Conn, now time.Time) {
	l.conn, l.state = conn, delivered
	p.untaken[l] = struct{}{}
	p.settle(l)
	if l.request.Hold || l.relayed() {
		l.key = held
		p.closeIdle(l, now)
		return
	}
	p.release(l, true, now)
}

// settle notes that no connection can come any more for a lease.
func (p *Pool) settle(l *Lease) {
	close(l.settled)
	l.port.settled(l)
	if p.blocked > 0 {
		p.offers = append(p.offers, offer{l.port, nil})
	}
}

// end makes Accept fail with err and closes a connection that nobody took. What
// becomes of the key depends on what the peer was told.
func (p *Pool) end(l *Lease, err error, now time.Time) {
	was := l.state
	l.state, l.err = ended, err
	switch was {
	case pending:
		p.settle(l)
		if l.key == reserved {
			p.release(l, false, now)
			return
		}
		l.key = withheld
		p.owe(l)
		p.Events.Returned(l.request, false)
		p.closeIdle(l, now)
	case delivered:
		delete(p.untaken, l)
		tcp.Reset(l.conn)
		l.conn = nil
		if l.relayed() {
			l.key = withheld
			p.owe(l)
			p.Events.Returned(l.request, false)
			return
		}
		fallthrough
	case taken:
		switch {
		case l.key == held:
			p.release(l, true, now)
		case l.key == cooling: // A reset may have come before the relay saw that it was connected.
			p.coolFor(l, Short, now)
		}
	}
}

// cool sets the end of a key that no connection met, or an earlier end.
func (p *Pool) cool(l *Lease, d time.Duration, now time.Time) {
	if l.key != withheld && l.key != cooling {
		return
	}
	if len(l.request.Others) > 0 {
		d = Long
	}
	if l.key == cooling && !now.Add(d).Before(l.until) {
		return
	}
	p.coolFor(l, d, now)
}

// coolFor sets the end of a key that no connection met.
func (p *Pool) coolFor(l *Lease, d time.Duration, now time.Time) {
	until := now.Add(d)
	p.setMayLeave(l, false)
	l.key, l.until, l.soon = cooling, until, d == Short
	list := 1
	if l.soon {
		list = 0
	}
	p.cooling[list] = append(p.cooling[list], cooled{l, until})
}

// late takes note of a connection that came for a key that is cooling or
// withheld: the one that was missing. Its reset tells the peer as a reply would, and
// retries may follow; none does if the peer has moved on, unless a relay does so for
// it, or somebody else, in a foreign network, has the address.
func (p *Pool) late(l *Lease, now time.Time) {
	switch {
	case l.moved && len(l.request.Others) == 0 && !l.relayed():
		p.free(l, now)
	case l.key == withheld:
		p.coolFor(l, Long, now)
	case l.until.Before(now.Add(Short)):
		p.coolFor(l, Short, now)
	}
}

// release frees the key of a lease, and tells Events whether a connection came for it (used).
func (p *Pool) release(l *Lease, used bool, now time.Time) {
	p.Events.Returned(l.request, used)
	p.free(l, now)
}

// free ends the key of a lease that is not pending and offers it to those who wait.
func (p *Pool) free(l *Lease, now time.Time) {
	if l.key == free {
		return
	}
	pt := l.port
	p.forgive(l)
	l.key = free
	pt.remove(l)
	p.giveBack(l, now)
	p.closeIdle(l, now)
	p.offers = append(p.offers, offer{pt, l})
}

// A cooled entry is when a key ends to cool; void if the lease says otherwise.
type cooled struct {
	lease *Lease
	until time.Time
}

func (c cooled) void() bool { return c.lease.key != cooling || !c.lease.until.Equal(c.until) }

// nextCooled is when the next key of a list ends to cool.
func (p *Pool) nextCooled(list int) (until time.Time, ok bool) {
	for len(p.cooling[list]) > 0 {
		if c := p.cooling[list][0]; !c.void() {
			return c.until, true
		}
		p.cooling[list][0] = cooled{}
		p.cooling[list] = p.cooling[list][1:]
	}
	return time.Time{}, false
}

// sweep frees the keys and the busy ports whose time has come.
func (p *Pool) sweep(now time.Time) {
	for list := range p.cooling {
		for until, ok := p.nextCooled(list); ok && !now.Before(until); until, ok = p.nextCooled(list) {
			p.free(p.cooling[list][0].lease, now)
		}
	}
	for len(p.busy) > 0 && !now.Before(p.busy[0].until) {
		b := p.busy[0]
		p.busy[0] = busyPort{}
		p.busy = p.busy[1:]
		if b.port.busyUntil.Equal(b.until) {
			b.port.busyUntil, b.port.busyCause = time.Time{}, nil
			p.offers = append(p.offers, offer{b.port, nil})
		}
	}
	p.forgetScopes(now)
}

type busyPort struct {
	port  *port
	until time.Time
}

func (p *Pool) setBusy(pt *port, err error, now time.Time) {
	pt.busyUntil, pt.busyCause = now.Add(busyTime), err
	p.busy = append(p.busy, busyPort{pt, pt.busyUntil})
	p.Events.Busy(pt.addr, err)
}

// An alarm is the pool's one timer.
type alarm struct {
	timer *time.Timer
	at    time.Time
}

// arm sets the alarm to the next time at which something is due, unless it is
// set to an earlier one: then it is set anew when it rings.
func (p *Pool) arm(now time.Time) {
	var at time.Time
	sooner := func(t time.Time, ok bool) {
		if ok && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for list := range p.cooling {
		sooner(p.nextCooled(list))
	}
	if len(p.busy) > 0 {
		sooner(p.busy[0].until, true)
	}
	switch {
	case at.IsZero():
		p.disarm()
		return
	case p.alarm != nil && !at.Before(p.alarm.at):
		return
	}
	p.disarm()
	a := &alarm{at: at}
	p.alarm = a
	p.running.Add(1)
	a.timer = time.AfterFunc(at.Sub(now), func() { p.ring(a) })
}

func (p *Pool) disarm() {
	if p.alarm != nil && p.alarm.timer.Stop() {
		p.running.Done()
	}
	p.alarm = nil
}

func (p *Pool) ring(a *alarm) {
	defer p.running.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alarm != a {
		return // It was stopped while it rang.
	}
	p.alarm = nil
	now := time.Now()
	p.sweep(now)
	p.finish(now)
}
