package portpool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// A waiter is a request for which no key is free.
type waiter struct {
	request Request
	scope   *scope
	turn    uint64
	blocked bool          // by leases of another configuration
	settled chan struct{} // closed when lease or err is set
	lease   *Lease
	err     error
}

// A queue is those who wait for one network, first come first.
type queue struct {
	waiters []*waiter // it is their peer's
	foreign []*waiter // it is one of their others
}

// An offer is a key that became free: of a lease, or, without one, for everybody.
type offer struct {
	port  *port
	lease *Lease
}

func (w *waiter) settle(l *Lease, err error) {
	w.lease, w.err = l, err
	close(w.settled)
}

// Lease lends a port of r.Ports for r.Peer; the caller closes the lease. While
// no key is free for that peer it waits its turn, first come first served, until
// ctx ends: then it returns ErrFull with the cause of ctx, and at once where
// very many wait for that peer. A ctx that has already ended asks for a port
// without waiting. If no port of the range can be listened on it returns ErrBind
// with the cause at once, and after Pool.Close ErrClosed.
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
	p.sweep(now)
	p.finish(now)
	s := p.scopeOf(&r)
	l, blocked, err := p.choose(&r, s, now)
	for errors.Is(err, errDrained) {
		p.finish(now) // Those who wait come first.
		s = p.scopeOf(&r)
		l, blocked, err = p.choose(&r, s, now)
	}
	var w *waiter
	if l == nil && err == nil {
		w, err = p.enqueue(r, s, blocked)
	}
	p.rest(s, now)
	p.finish(now)
	p.mu.Unlock()
	if w == nil {
		return l, err
	}
	select {
	case <-w.settled:
	case <-ctx.Done():
		p.giveUp(w, ctx)
	}
	return w.lease, w.err
}

// enqueue makes a request wait.
func (p *Pool) enqueue(r Request, s *scope, blocked bool) (*waiter, error) {
	p.Events.Waiting(r)
	if q, ok := p.queues.at(r.Peer); ok && len(q.waiters) >= maxWaiters {
		p.Events.Full(r)
		return nil, fmt.Errorf("%w: %s of %s: %w", ErrFull, r.Local, r.Ports, ErrManyWait)
	}
	p.turns++
	w := &waiter{request: r, scope: s, turn: p.turns, blocked: blocked, settled: make(chan struct{})}
	r.networks(func(n netip.Prefix) bool {
		q, ok := p.queues.at(n)
		if !ok {
			q = new(queue)
			p.queues.put(n, q)
		}
		line := q.line(w, n)
		*line = append(*line, w)
		return true
	})
	s.waiting++
	p.waiting++
	if blocked {
		p.blocked++
	}
	p.relieve(&w.request)
	return w, nil
}

// line is where a waiter stands that is filed under n.
func (q *queue) line(w *waiter, n netip.Prefix) *[]*waiter {
	if n == w.request.Peer {
		return &q.waiters
	}
	return &q.foreign
}

// dequeue takes a waiter out of its queue.
func (p *Pool) dequeue(w *waiter, now time.Time) {
	w.request.networks(func(n netip.Prefix) bool {
		q, _ := p.queues.at(n)
		line := q.line(w, n)
		i := slices.Index(*line, w)
		*line = slices.Delete(*line, i, i+1)
		if len(q.waiters) == 0 && len(q.foreign) == 0 {
			p.queues.remove(n)
		}
		return true
	})
	w.scope.waiting--
	p.waiting--
	if w.blocked {
		p.blocked--
	}
	p.rest(w.scope, now)
}

// giveUp settles a waiter whose context has ended, unless it was served meanwhile.
func (p *Pool) giveUp(w *waiter, ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.closed && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.sweep(now) // A port that is free at the very deadline is in time.
		p.finish(now)
	}
	select {
	case <-w.settled:
		return
	default:
	}
	p.dequeue(w, now)
	w.settle(nil, fmt.Errorf("%w: %s of %s: %w", ErrFull, w.request.Local, w.request.Ports, context.Cause(ctx)))
	p.Events.Full(w.request)
	p.finish(now)
}

// finish gives the keys that became free to those who wait, and sets the alarm.
// Everything that changes the pool ends with it.
func (p *Pool) finish(now time.Time) {
	for len(p.offers) > 0 && !p.closed {
		o := p.offers[0]
		p.offers = p.offers[1:]
		if p.waiting > 0 {
			p.serve(o, now)
		}
		if o.lease != nil {
			p.relieve(&o.lease.request)
		}
		p.forget(o.port)
	}
	p.offers = nil
	if !p.closed {
		p.arm(now)
	}
}

// waitersFor is those who wait for networks that overlap r's, or for any if r is nil,
// first come first.
func (p *Pool) waitersFor(r *Request) (all []*waiter) {
	var found []*queue
	add := func(q *queue) bool {
		if !slices.Contains(found, q) {
			found = append(found, q)
		}
		return true
	}
	if r == nil {
		for _, q := range p.queues.cells {
			found = append(found, q)
		}
	} else {
		r.networks(func(n netip.Prefix) bool { return p.queues.overlapping(n, add) })
	}
	if len(found) == 1 && len(found[0].foreign) == 0 {
		return slices.Clone(found[0].waiters)
	}
	for _, q := range found {
		all = append(append(all, q.waiters...), q.foreign...)
	}
	slices.SortFunc(all, func(a, b *waiter) int { return cmp.Compare(a.turn, b.turn) })
	return slices.Compact(all) // One may wait for several of the networks.
}

// serve offers a key to those whose networks overlap its own, first come first.
// One who cannot have it does not stand in the way of the next.
func (p *Pool) serve(o offer, now time.Time) {
	var r *Request
	if o.lease != nil && p.blocked == 0 { // Of those, any may have been in its way.
		r = &o.lease.request
	}
	var lent Request // Others of this peer at this address would collide.
	for _, w := range p.waitersFor(r) {
		if !w.wants(o.port) || w.request.Peer == lent.Peer && w.request.Local == lent.Local {
			continue
		}
		l, err := p.try(w.request.addr(o.port.addr.Port()), &w.request, now)
		switch {
		case l != nil:
			if w.scope.takeFree(l); w.request.Prove == nil {
				lent = w.request
			}
		case err == nil:
			continue
		case errors.Is(err, errDrained):
			p.offers = append(p.offers, o)
			return
		case concernsPort(err):
			// The port is gone to another program: any other will do, and if
			// there is none the wait is over.
			var blocked bool
			l, blocked, err = p.choose(&w.request, w.scope, now)
			switch {
			case errors.Is(err, errDrained):
				p.offers = append(p.offers, o)
				return
			case l == nil && err == nil:
				w.setBlocked(p, blocked)
				continue
			}
		default:
			err = bindError(&w.request, err)
		}
		p.dequeue(w, now)
		w.settle(l, err)
	}
}

func (w *waiter) setBlocked(p *Pool, blocked bool) {
	if w.blocked == blocked {
		return
	}
	if w.blocked = blocked; blocked {
		p.blocked++
	} else {
		p.blocked--
	}
}

// wants tells whether pt, or a port of the same number at r's address, would serve w.
func (w *waiter) wants(pt *port) bool {
	if !w.request.Ports.Contains(pt.addr.Port()) {
		return false
	}
	a, b := w.request.Local, pt.addr.Addr()
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

func (r *Request) addr(number uint16) netip.AddrPort { return netip.AddrPortFrom(r.Local, number) }

// errDrained: a connection lay in the queue and freed a key, and others may wait for it.
var errDrained = errors.New("portpool: a key became free meanwhile")

// choose lends a port to r. Without a lease and without an error r has to wait.
func (p *Pool) choose(r *Request, s *scope, now time.Time) (l *Lease, blocked bool, err error) {
	var cause error
	wait := s.out()
	left := r.Ports.Len() - s.walked + len(s.used)
	for ; left > 0; left-- {
		number, ok := s.next()
		if !ok {
			break
		}
		l, err := p.try(r.addr(number), r, now)
		if l != nil {
			s.took(l)
			return l, false, nil
		}
		if errors.Is(err, errDrained) {
			return nil, false, err
		}
		s.passed(number)
		switch {
		case err == nil:
			wait = true
		case errors.Is(err, errBlocked):
			wait, blocked = true, true
		case !concernsPort(err):
			return nil, false, bindError(r, err)
		default:
			cause = err
		}
	}
	if wait {
		return nil, blocked, nil
	}
	return nil, false, bindError(r, cause)
}

// try lends the port at addr, if its key is free for r. Without a lease and without an
// error it is not.
func (p *Pool) try(addr netip.AddrPort, r *Request, now time.Time) (*Lease, error) {
	pt := p.portAt(addr, false)
	if pt != nil && pt.open != nil {
		// What lies in the queue was not opened for this lease.
		offers := len(p.offers)
		if p.drain(pt.open, now); len(p.offers) > offers {
			return nil, errDrained
		}
	}
	if free, err := p.keyFree(addr, r); !free || err != nil {
		return nil, err
	}
	pt = p.portAt(addr, true)
	if pt.open == nil {
		if now.Before(pt.busyUntil) {
			return nil, pt.busyCause
		}
		if err := p.openPort(pt, r); err != nil {
			if concernsPort(err) && !errors.Is(err, errBlocked) {
				p.setBusy(pt, err, now)
			}
			p.forget(pt)
			return nil, err
		}
	}
	return p.lend(pt, r), nil
}

func bindError(r *Request, cause error) error {
	return fmt.Errorf("%w: %s of %s: %w", ErrBind, r.Local, r.Ports, cause)
}

// concernsPort tells whether a failed listen says something about that port
// only. The others mean that any other port would fail just so: no descriptors,
// no memory, or a local address that is not here.
func concernsPort(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS,
		syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT,
	} {
		if errors.Is(err, e) {
			return false
		}
	}
	return true
}
