package portpool

import (
	"container/list"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxIdleScopes is how many peers without a lease the pool remembers.
	maxIdleScopes = 4096
	// maxIdleUsed is how many ports it remembers of each of them.
	maxIdleUsed = 1024
	// idleScope is how long it remembers one: as long as a server that dials from
	// port 20 keeps its connections in TIME_WAIT, and more.
	idleScope = 2 * time.Minute
)

// A scopeKey is those who take their ports in one order.
type scopeKey struct {
	local netip.Addr
	ports Range
	peer  netip.Prefix
	owner uint64 // where the owner is a part of the key
}

func (r *Request) scope() scopeKey {
	k := scopeKey{local: r.Local, ports: r.Ports, peer: r.Peer}
	if r.Prove != nil {
		k.owner = r.Owner
	}
	return k
}

// A scope is what the pool knows of one peer in one range: in which order it
// gets the ports. Those that it never had come first, at random (with Hold in their
// order); then the one whose key is free for the longest time.
type scope struct {
	key         scopeKey
	start, step int      // of the walk over ports that were never used
	walked      int      // how many of them were tried
	used        []uint16 // their keys are free, the longest free first

	leases  int // whose key is not free
	waiting int

	since time.Time     // idle since
	idle  *list.Element // in Pool.idle; nil: it is not
}

// scopeOf returns the scope of a request, which is about to be used.
func (p *Pool) scopeOf(r *Request) *scope {
	k := r.scope()
	s := p.scopes[k]
	if s == nil {
		s = &scope{key: k}
		if s.step = 1; !r.Hold {
			s.start, s.step = walk(k.ports.Len())
		}
		p.scopes[k] = s
	}
	if s.idle != nil {
		p.idle.Remove(s.idle)
		s.idle = nil
	}
	return s
}

// next is the port to try first. The caller says what came of it with took or
// passed.
func (s *scope) next() (number uint16, ok bool) {
	if n := s.key.ports.Len(); s.walked < n {
		return s.key.ports.First + uint16((s.start+s.walked*s.step)%n), true
	}
	if len(s.used) == 0 {
		return 0, false
	}
	return s.used[0], true
}

// took says that the port that next named is lent.
func (s *scope) took(l *Lease) {
	l.scope = s
	s.leases++
	if s.walked < s.key.ports.Len() {
		s.walked++
		return
	}
	s.used = s.used[1:]
}

// passed says that the port that next named cannot be lent now.
func (s *scope) passed(number uint16) {
	if s.walked < s.key.ports.Len() {
		s.walked++
	} else {
		s.used = s.used[1:]
	}
	s.used = append(s.used, number)
}

// takeFree says that a port is lent for which somebody waited: all were tried then.
func (s *scope) takeFree(l *Lease) {
	l.scope = s
	s.leases++
	if i := slices.Index(s.used, l.port.addr.Port()); i >= 0 {
		s.used = slices.Delete(s.used, i, i+1)
	}
}

// out tells whether a port of the range is not free because of the scope's own leases.
func (s *scope) out() bool { return s.leases > 0 }

// giveBack puts the port of a lease whose key is free at the end of the order.
func (p *Pool) giveBack(l *Lease, now time.Time) {
	s := l.scope
	s.leases--
	s.used = append(s.used, l.port.addr.Port())
	p.rest(s, now)
}

// rest makes a scope without leases and waiters one that may be forgotten.
func (p *Pool) rest(s *scope, now time.Time) {
	if s.leases > 0 || s.waiting > 0 || s.idle != nil {
		return
	}
	if len(s.used) > maxIdleUsed {
		delete(p.scopes, s.key)
		return
	}
	s.since = now
	s.idle = p.idle.PushBack(s)
	if p.idle.Len() > maxIdleScopes {
		p.forgetScope(p.idle.Front())
	}
}

func (p *Pool) forgetScope(e *list.Element) {
	s := p.idle.Remove(e).(*scope)
	s.idle = nil
	delete(p.scopes, s.key)
}

// forgetScopes forgets those that are idle for long.
func (p *Pool) forgetScopes(now time.Time) {
	for e := p.idle.Front(); e != nil && now.Sub(e.Value.(*scope).since) > idleScope; e = p.idle.Front() {
		p.forgetScope(e)
	}
}

// intN is rand.IntN, but for a test that wants to repeat itself.
var intN = rand.IntN

// walk returns a random start and a random step that together visit each of n
// ports once.
func walk(n int) (start, step int) {
	start, step = intN(n), 1
	if n > 2 {
		for step = 1 + intN(n-1); gcd(step, n) != 1; step = 1 + intN(n-1) {
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
