package portpool

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// maxHistory bounds how many peers a port remembers.
const maxHistory = 64

// A use is when a peer's last lease with Hold ended on a port, in ticks of Pool.clock.
type use struct {
	peer netip.Prefix
	at   uint64
}

func (pt *port) remember(peer netip.Prefix, at uint64) {
	pt.history = slices.DeleteFunc(pt.history, func(u use) bool { return u.peer == peer })
	if len(pt.history) == maxHistory {
		pt.history = slices.Delete(pt.history, 0, 1)
	}
	pt.history = append(pt.history, use{peer, at})
}

// lastUse is 0 for a peer that was never there.
func (pt *port) lastUse(peer netip.Prefix) uint64 {
	if pt == nil {
		return 0
	}
	for _, u := range pt.history {
		if u.peer == peer {
			return u.at
		}
	}
	return 0
}

// A standing is what a port is to a request.
type standing int

const (
	free        standing = iota
	own                  // in quarantine, which the request's owner may lift
	quarantined          // free after a time that is known
	lent                 // to an overlapping peer
	busy                 // another program has it
)

// standing tells what pt, which may be nil, is to r.
func (p *Pool) standing(pt *port, r *Request, now time.Time) standing {
	if pt == nil {
		return free
	}
	for _, l := range pt.leases {
		if l.request.overlaps(r) {
			return lent
		}
	}
	s := free
	for _, q := range pt.quarantines {
		if !q.request.overlaps(r) {
			continue
		}
		if q.owner == 0 || q.owner != r.Owner || now.Sub(q.since) >= expireAfter && p.wanted(pt, r) {
			return quarantined
		}
		s = own
	}
	if pt.open == nil && now.Before(pt.busyUntil) {
		return busy
	}
	return s
}

// choose lends a port to r: a fresh one, or the owner's own from quarantine if
// there is no fresh one or the owner has many. Without a lease and without an
// error r has to wait.
func (p *Pool) choose(r *Request, now time.Time) (*Lease, error) {
	if mine := p.owned[r.Owner]; len(mine) >= maxOwnQuarantines {
		for _, q := range mine {
			if q.port.addr.Addr() != r.Local || !r.Ports.Contains(q.port.addr.Port()) || p.standing(q.port, r, now) != own {
				continue
			}
			if l, err := p.lend(q.port.addr, r, now); err == nil {
				return l, nil
			}
			break // The walk below sorts it out.
		}
	}
	n := r.Ports.Len()
	start, step := 0, 1
	if !r.Hold {
		start, step = walk(n)
	}
	var later []candidate
	var cause error
	wait := false
	for i := range n {
		number := r.Ports.First + uint16((start+i*step)%n)
		addr := netip.AddrPortFrom(r.Local, number)
		pt := p.ports[addr]
		switch s := p.standing(pt, r, now); s {
		case free, own:
			if s == own || r.Hold {
				later = append(later, candidate{addr, s == own, pt.lastUse(r.Peer)})
				continue
			}
			l, err := p.lend(addr, r, now)
			if err == nil {
				return l, nil
			}
			if cause = err; !concernsPort(err) {
				return nil, bindError(r, err)
			}
			wait = wait || errors.Is(err, errOverlap)
		case busy:
			cause = pt.busyCause
			wait = wait || errors.Is(cause, errOverlap)
		default:
			wait = true
		}
	}
	if r.Hold {
		slices.SortStableFunc(later, candidate.compare)
	}
	for _, c := range later {
		l, err := p.lend(c.addr, r, now)
		if err == nil {
			return l, nil
		}
		if cause = err; !concernsPort(err) {
			return nil, bindError(r, err)
		}
		wait = wait || errors.Is(err, errOverlap)
	}
	if wait {
		return nil, nil
	}
	return nil, bindError(r, cause)
}

func bindError(r *Request, cause error) error {
	return fmt.Errorf("%w: %s of %s: %w", ErrBind, r.Local, r.Ports, cause)
}

// A candidate is a port that can be lent but need not be the best.
type candidate struct {
	addr netip.AddrPort
	own  bool   // comes from the owner's quarantine, so fresh ones go first
	used uint64 // when its peer last used it
}

// compare puts fresh ports first, then the least recently used.
func (c candidate) compare(d candidate) int {
	switch {
	case c.own && !d.own:
		return 1
	case d.own && !c.own:
		return -1
	}
	return cmp.Compare(c.used, d.used)
}

// walk returns a random start and a random step that together visit each of n
// ports once, so that the port after a lent one is not likelier than another.
func walk(n int) (start, step int) {
	start, step = rand.IntN(n), 1
	if n > 2 {
		for step = 1 + rand.IntN(n-1); gcd(step, n) != 1; step = 1 + rand.IntN(n-1) {
		}
	}
	return start, step
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// lend makes a lease on addr, which must be free or own to r. If the listener
// cannot be opened the port is busy for a while, where that is the port's fault.
func (p *Pool) lend(addr netip.AddrPort, r *Request, now time.Time) (*Lease, error) {
	pt := p.ports[addr]
	if pt == nil {
		pt = &port{addr: addr}
		p.ports[addr] = pt
	}
	if pt.open == nil {
		if err := p.openPort(pt, r); err != nil {
			if concernsPort(err) {
				p.setBusy(pt, err, now)
			}
			p.forget(pt)
			return nil, err
		}
	}
	l := &Lease{pool: p, port: pt, request: *r, since: now, settled: make(chan struct{})}
	for _, w := range p.waiters {
		if w.wants(pt) && w.request.overlaps(r) {
			due := now.Add(expireAfter)
			if p.standing(pt, &w.request, now) == quarantined {
				due = now // It counted on this port and has to look elsewhere.
			}
			w.lookAt(due)
		}
	}
	if since, ok := p.lift(pt, r); ok && p.wanted(pt, r) {
		l.since = since // Taking it back again and again does not make it young.
	}
	pt.leases = append(pt.leases, l)
	p.events.Leased(*r)
	return l, nil
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

type busyPort struct {
	port  *port
	until time.Time
}

func (p *Pool) setBusy(pt *port, err error, now time.Time) {
	pt.busyUntil, pt.busyCause = now.Add(busyTime), err
	p.busy = append(p.busy, busyPort{pt, pt.busyUntil})
	if !errors.Is(err, errOverlap) {
		p.events.Busy(pt.addr, err)
	}
}

// forget drops a port that there is nothing more to say about.
func (p *Pool) forget(pt *port) {
	if pt.open == nil && len(pt.leases) == 0 && len(pt.quarantines) == 0 && len(pt.history) == 0 && pt.busyUntil.IsZero() {
		delete(p.ports, pt.addr)
	}
}
