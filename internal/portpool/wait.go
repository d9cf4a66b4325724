package portpool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A waiter is a request for which no port is free.
type waiter struct {
	request Request
	settled chan struct{} // closed when lease or err is set
	lease   *Lease
	err     error
	look    time.Time // when to look for a lease to expire; zero if there is none pending
}

func (w *waiter) settle(l *Lease, err error) {
	w.lease, w.err = l, err
	close(w.settled)
}

// Lease lends a port of r.Ports for r.Peer; the caller closes the lease. While
// every port is lent for that peer it waits its turn, first come first served,
// until ctx ends: then it returns ErrFull with the cause of ctx. A ctx that has
// already ended asks for a port without waiting. If no port of the range can
// be listened on it returns ErrBind with the cause at once, and after Pool.Close
// ErrClosed.
func (p *Pool) Lease(ctx context.Context, r Request) (*Lease, error) {
	r, err := r.normal()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	now := time.Now()
	p.tick(now)
	l, err := p.choose(&r, now)
	if l != nil || err != nil {
		p.arm(now)
		p.mu.Unlock()
		return l, err
	}
	w := &waiter{request: r, settled: make(chan struct{})}
	p.waiters = append(p.waiters, w)
	p.events.Waiting(r)
	p.relieve(w, now)
	p.arm(now)
	p.mu.Unlock()

	select {
	case <-w.settled:
	case <-ctx.Done():
		p.giveUp(w, ctx)
	}
	return w.lease, w.err
}

// giveUp settles a waiter whose context has ended, unless it was served meanwhile.
func (p *Pool) giveUp(w *waiter, ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.closed && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.tick(now) // A port that is free at the very deadline is in time.
	}
	select {
	case <-w.settled:
		return
	default:
	}
	i := slices.Index(p.waiters, w)
	p.waiters = slices.Delete(p.waiters, i, i+1)
	w.settle(nil, fmt.Errorf("%w: %s of %s: %w", ErrFull, w.request.Local, w.request.Ports, context.Cause(ctx)))
	p.events.Full(w.request)
	p.arm(now)
}

// wants tells whether pt, if it were free for peer, would serve w.
func (w *waiter) wants(pt *port) bool {
	return w.request.Local == pt.addr.Addr() && w.request.Ports.Contains(pt.addr.Port())
}

// wanted tells whether somebody else waits for what r would get on pt.
func (p *Pool) wanted(pt *port, r *Request) bool {
	return slices.ContainsFunc(p.waiters, func(w *waiter) bool {
		return w.request.Owner != r.Owner && w.wants(pt) && w.request.overlaps(r)
	})
}

// lookAt makes w look for a lease to expire at t, if it would look later.
func (w *waiter) lookAt(t time.Time) {
	if w.look.IsZero() || t.Before(w.look) {
		w.look = t
	}
}

// offer lends pt, which something stopped keeping from the peers of r, to those
// who wait and may have it now, first come first. One whose peer cannot be
// served on pt does not stand in the way of the next. No r means everybody.
func (p *Pool) offer(pt *port, r *Request, now time.Time) {
	for i := 0; i < len(p.waiters); {
		w := p.waiters[i]
		if !w.wants(pt) || r != nil && !r.overlaps(&w.request) {
			i++
			continue
		}
		if p.standing(pt, &w.request, now) > own {
			// What is left in its way, of narrower peers, may be old.
			if youngest, ok := pt.unusedSince(&w.request); ok {
				w.lookAt(youngest.Add(expireAfter))
			}
			i++
			continue
		}
		l, err := p.lend(pt.addr, &w.request, now)
		if err != nil {
			// The port is gone to another program: any other will do, and
			// if there is none the wait is over.
			if l, err = p.choose(&w.request, now); l == nil && err == nil {
				i++
				continue
			}
		}
		p.waiters = slices.Delete(p.waiters, i, i+1)
		w.settle(l, err)
	}
}

// relieve expires leases for w if their time has come and no port is on its
// way to w already, or notes when to look again.
func (p *Pool) relieve(w *waiter, now time.Time) {
	demand := 0
	for _, o := range p.waiters {
		a, b := o.request.Ports, w.request.Ports
		if o.request.Local == w.request.Local && a.First <= b.Last && b.First <= a.Last && o.request.overlaps(&w.request) {
			demand++
		}
		if o == w {
			break
		}
	}
	var victim *port // whose youngest lease in w's way is the oldest such
	var since time.Time
	for _, pt := range p.ports {
		if !w.wants(pt) {
			continue
		}
		switch p.standing(pt, &w.request, now) {
		case quarantined:
			demand--
		case lent:
			youngest, ok := pt.unusedSince(&w.request)
			if ok && (victim == nil || youngest.Before(since) || youngest.Equal(since) && pt.addr.Port() < victim.addr.Port()) {
				victim, since = pt, youngest
			}
		}
	}
	switch due := since.Add(expireAfter); {
	case demand <= 0:
		w.look = now.Add(quarantineTime)
	case victim == nil:
		w.look = time.Time{}
	case now.Before(due):
		w.look = due
	default:
		for _, l := range slices.Clone(victim.leases) {
			if l.request.overlaps(&w.request) {
				p.events.Expired(l.request)
				p.end(l, ErrExpired, now)
			}
		}
		w.look = now.Add(quarantineTime)
	}
}

// unusedSince tells when the youngest of the leases in r's way began, if all
// of them are unused.
func (pt *port) unusedSince(r *Request) (youngest time.Time, ok bool) {
	for _, l := range pt.leases {
		if !l.request.overlaps(r) {
			continue
		}
		if l.state != pending {
			return time.Time{}, false
		}
		if !ok || l.since.After(youngest) {
			youngest, ok = l.since, true
		}
	}
	return youngest, ok
}

// tick does all that is due.
func (p *Pool) tick(now time.Time) {
	p.sweep(now)
	for i := 0; i < len(p.waiters); i++ {
		w := p.waiters[i]
		if !w.look.IsZero() && !now.Before(w.look) {
			p.relieve(w, now) // It only puts ports into quarantine, so nobody is served.
		}
	}
}

// An alarm is the pool's one timer.
type alarm struct {
	timer *time.Timer
	at    time.Time
}

// arm sets the alarm to the next time at which something is due for those who
// wait, and stops it if nobody does. Everything that changes the pool ends with it.
func (p *Pool) arm(now time.Time) {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if len(p.waiters) > 0 {
		if len(p.quarantines) > 0 {
			sooner(p.quarantines[0].until)
		}
		if len(p.busy) > 0 {
			sooner(p.busy[0].until)
		}
		for _, w := range p.waiters {
			if !w.look.IsZero() {
				sooner(w.look)
			}
		}
	}
	if p.alarm != nil && p.alarm.at.Equal(at) {
		return
	}
	p.disarm()
	if at.IsZero() {
		return
	}
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
		return // It was set anew or stopped while it rang.
	}
	p.alarm = nil
	now := time.Now()
	p.tick(now)
	p.arm(now)
}
