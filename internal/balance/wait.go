package balance

import (
	"container/list"
	"context"
	"fmt"
	"time"
)

// A waiter is a pick that waits for a place.
type waiter struct {
	key     Key
	tried   []*Lease
	wants   *server // nil: any will do
	element *list.Element

	done  chan struct{} // closed when one of these is set
	lease *Lease
	err   error
}

// wait waits for a place. The group is locked, and is unlocked.
func (g *Group) wait(ctx context.Context, key Key, tried []*Lease, wants *server, c *clock) (*Lease, error) {
	w := &waiter{key: key, tried: tried, wants: wants, done: make(chan struct{})}
	w.element = g.waiters.PushBack(w)
	g.setAlarm(c)
	g.unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.unlock()
	if w.err != nil || w.lease != nil && ctx.Err() == nil {
		return w.lease, w.err
	}
	if w.lease != nil {
		w.lease.release() // The place came too late; it is the next one's.
	} else {
		g.waiters.Remove(w.element)
	}
	return nil, fmt.Errorf("%w: %w", ErrWaited, context.Cause(ctx))
}

// settle ends a wait.
func (g *Group) settle(w *waiter, s *server, err error) {
	g.waiters.Remove(w.element)
	if err == nil {
		w.lease = g.take(s, new(clock))
	}
	w.err = err
	close(w.done)
}

// serve gives places to those who wait, in the order in which they came. If freed is not
// nil, a place at this server is all that has changed.
func (g *Group) serve(freed *server) {
	if g.waiters.Len() == 0 {
		return
	}
	var c clock
	stuck := false // whoever tried none and takes any waits on
	for e := g.waiters.Front(); e != nil; {
		w := e.Value.(*waiter)
		e = e.Next()
		switch {
		case stuck && len(w.tried) == 0:
			continue
		case freed != nil && freed.isFull():
			e = nil
			continue
		case freed != nil && w.wants != nil && w.wants != freed:
			continue
		}
		s, err := g.choose(w.key, w.tried, true, &c)
		if err != errWait {
			g.settle(w, s, err)
			continue
		}
		w.wants = s
		stuck = stuck || s == nil && len(w.tried) == 0
	}
	g.setAlarm(&c)
}

// setAlarm has those who wait looked at when the next server that failed may be tried: that
// is the one change that comes by time alone.
func (g *Group) setAlarm(c *clock) {
	if g.waiters.Len() == 0 || g.closed {
		return
	}
	var first time.Time
	for _, tier := range g.tiers {
		for _, s := range tier {
			if s.state == Drain || s.state == Up && s.fails == 0 || !g.mayTry(s) {
				continue
			}
			if at := g.dueAt(s); at.After(c.now()) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	if first.IsZero() {
		return
	}
	after := first.Sub(c.now())
	if g.alarm == nil {
		g.alarm = time.AfterFunc(after, g.ring)
	} else {
		g.alarm.Reset(after)
	}
}

func (g *Group) ring() {
	g.mu.Lock()
	g.changed = true
	g.unlock()
}
