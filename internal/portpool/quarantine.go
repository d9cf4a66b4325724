package portpool

import (
	"slices"
	"time"
)

// A quarantine keeps (port, peer) from others after a lease that ended unused.
type quarantine struct {
	port    *port
	request *Request  // whose peers are kept from it
	owner   uint64    // may lift it; 0 if nobody may
	since   time.Time // the lease's
	until   time.Time
}

func (p *Pool) quarantine(l *Lease, owner uint64, now time.Time) {
	q := &quarantine{port: l.port, request: &l.request, owner: owner, since: l.since, until: now.Add(quarantineTime)}
	l.port.quarantines = append(l.port.quarantines, q)
	p.quarantines = append(p.quarantines, q)
	if owner != 0 {
		p.owned[owner] = append(p.owned[owner], q)
	}
}

// lift ends the quarantines on pt that keep r out, all of its own owner, and
// returns when the first lease that left one began.
func (p *Pool) lift(pt *port, r *Request) (since time.Time, ok bool) {
	pt.quarantines = slices.DeleteFunc(pt.quarantines, func(q *quarantine) bool {
		if !q.request.overlaps(r) {
			return false
		}
		if !ok || q.since.Before(since) {
			since, ok = q.since, true
		}
		p.disown(q)
		p.quarantines = slices.DeleteFunc(p.quarantines, func(o *quarantine) bool { return o == q })
		return true
	})
	return since, ok
}

func (p *Pool) disown(q *quarantine) {
	if q.owner == 0 {
		return
	}
	left := slices.DeleteFunc(p.owned[q.owner], func(o *quarantine) bool { return o == q })
	if len(left) == 0 {
		delete(p.owned, q.owner)
	} else {
		p.owned[q.owner] = left
	}
}

// sweep ends the quarantines and the busy times that are over, and offers
// their ports to those who wait.
func (p *Pool) sweep(now time.Time) {
	for len(p.quarantines) > 0 && !now.Before(p.quarantines[0].until) {
		q := p.quarantines[0]
		p.quarantines[0] = nil
		p.quarantines = p.quarantines[1:]
		p.disown(q)
		i := slices.Index(q.port.quarantines, q)
		q.port.quarantines = slices.Delete(q.port.quarantines, i, i+1)
		p.offer(q.port, q.request, now)
		p.forget(q.port)
	}
	for len(p.busy) > 0 && !now.Before(p.busy[0].until) {
		b := p.busy[0]
		p.busy[0] = busyPort{}
		p.busy = p.busy[1:]
		if b.port.busyUntil.Equal(b.until) {
			b.port.busyUntil, b.port.busyCause = time.Time{}, nil
			p.offer(b.port, nil, now)
			p.forget(b.port)
		}
	}
}
