package portpool

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// keyState is what the key of a lease is; the package documentation has them.
type keyState int

const (
	reserved keyState = iota
	promised
	held
	cooling
	withheld
	free
)

// state is what became of the lease's connection.
type state int

const (
	pending   state = iota // it has not come
	delivered              // it is there, nobody has taken it
	taken                  // Accept has returned it
	ended                  // Accept fails with err
)

// A Lease is a port on loan for one peer. All its fields but settled and
// request are guarded by the pool's mutex.
type Lease struct {
	pool    *Pool
	port    *port
	scope   *scope
	request Request
	settled chan struct{} // closed when the lease is no longer pending
	state   state
	conn    net.Conn // while delivered
	err     error    // once ended
	away    netip.Addr

	key      keyState
	promised time.Time
	until    time.Time // the end of cooling
	moved    bool      // the peer has moved on
	met      bool      // Accept has returned its connection
	owes     bool      // it is in Pool.debts
	mayLeave bool      // its owner may be asked to leave
	soon     bool      // it cools for Short
	silent   bool      // its owner is silent
	evicted  bool      // its owner was asked to leave
}

// pending tells whether a connection may be delivered, or may be soon.
func (l *Lease) pending() bool { return l.state == pending }

// relayed tells whether the peer's connection comes through somebody who may try
// again when the peer has moved on.
func (l *Lease) relayed() bool { return l.request.Header != nil && !l.request.Hold }

// used tells whether a connection came for the lease, so that nothing is to be said of
// its peer any more.
func (l *Lease) used() bool { return l.met || l.state == delivered && !l.relayed() }

// Addr is the address that listens for the peer: Request.Local and the port.
func (l *Lease) Addr() netip.AddrPort { return l.port.addr }

// promise is called before the address is written to the peer. Connections that
// were opened before are not the lease's. Only the first call counts.
func (l *Lease) promise() {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	if l.key == reserved {
		l.key, l.promised = promised, l.pool.Clock()
	}
}

// Accept waits for the peer's connection, as the listener gave it: the caller
// closes it. It returns ErrClosed if the lease is closed or its connection was
// taken before, ErrBind if the port was lost, and the cause of ctx if that ended
// first; the lease is then still good. A connection that is already there is
// returned even when ctx has ended.
func (l *Lease) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case <-l.settled:
	case <-ctx.Done():
	}
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.acceptQueued()
	switch l.state {
	case pending:
		return nil, context.Cause(ctx)
	case delivered:
		conn := l.conn
		l.conn, l.state, l.met = nil, taken, true
		delete(l.pool.untaken, l)
		if l.relayed() {
			now := time.Now()
			l.pool.Events.Returned(l.request, true)
			l.pool.coolFor(l, Short, now)
			l.pool.finish(now)
		}
		return conn, nil
	case taken:
		return nil, ErrClosed
	default:
		return nil, l.err
	}
}

// Close gives the lease up and closes a connection that came and was not taken.
// A key that was promised and not met is withheld until Told or MovedOn is
// called, also after this. With Request.Hold the caller closes the connection
// that it took first and the lease after it. Safe to repeat and to call while
// Accept waits.
func (l *Lease) Close() error {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.change(func(time.Time) {})
	return nil
}

// Heard says that whoever brought the connection that Accept has returned has passed on
// data or an end, or has taken all that was sent: so it knows that it is connected, and
// does not try again. Without that call a key with Request.Header stays cooling, for Short
// after Accept and after Close. It is nothing to other leases.
func (l *Lease) Heard() {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	if l.relayed() && l.state == taken && !l.pool.closed {
		now := time.Now()
		l.pool.free(l, now)
		l.pool.finish(now)
	}
}

// told closes a lease whose connection has not come, and says that its peer was
// told that nobody waits for it, or that its control connection is lost: the
// attempt ends within Long.
func (l *Lease) told() {
	l.unmet(func(now time.Time) { l.pool.cool(l, Long, now) })
}

// movedOn closes a lease whose connection has not come, and says that its peer
// has moved on: it has ended its attempt, and what is on its way arrives within
// Short.
func (l *Lease) movedOn() {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	// What the peer has opened and left may lie in the queue, and frees the key. It must
	// not do so for a peer that was only told: that one may try again after the reset.
	l.acceptQueued()
	l.unmetLocked(func(now time.Time) {
		if l.key == cooling || l.key == withheld {
			l.moved = true
			l.pool.cool(l, Short, now)
		}
	})
}

// withdraw closes a lease whose connection has not come, and says that its peer was never
// asked to connect: nothing is on its way, and the key is free. A connection that it has
// opened all the same is older than the next promise.
func (l *Lease) withdraw() {
	l.unmet(func(now time.Time) {
		if l.key == cooling || l.key == withheld {
			l.pool.free(l, now)
		}
	})
}

// fallSilent closes a lease whose connection has not come, and says that its peer
// has had the time that it was promised and let it pass without a word: if others
// of the peer need the key, Request.Evict is called.
func (l *Lease) fallSilent() {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	if l.state == delivered {
		return
	}
	l.unmetLocked(func(now time.Time) {
		if l.key == withheld && !l.silent {
			l.silent = true
			l.pool.setMayLeave(l, l.request.Evict != nil)
			l.pool.relieve(&l.request)
		}
	})
}

// unmet closes the lease and then does what is said of its key, unless its connection
// has come: then nothing is to be said of it, and it stays as it is.
func (l *Lease) unmet(then func(now time.Time)) {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.unmetLocked(then)
}

// unmetLocked is unmet with the pool locked.
func (l *Lease) unmetLocked(then func(now time.Time)) {
	if !l.used() {
		l.change(then)
	}
}

// acceptQueued takes what lies in the listener's queue while the lease may still have
// it: what came before the lease ends is not late. The pool is locked.
func (l *Lease) acceptQueued() {
	p := l.pool
	if p.closed || !l.pending() || l.port.open == nil {
		return
	}
	now := time.Now()
	p.drain(l.port.open, now)
	p.finish(now)
}

// change closes the lease and then does what is said of its key. The pool is locked.
func (l *Lease) change(then func(now time.Time)) {
	p := l.pool
	if p.closed {
		p.end(l, ErrClosed, time.Time{})
		return
	}
	now := time.Now()
	p.end(l, ErrClosed, now)
	then(now)
	p.finish(now)
}

// isUnmet tells whether the address was promised and no connection came for it
// that was the lease's, or can still come.
func (l *Lease) isUnmet() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return !l.used() && l.key != reserved && l.key != free
}

// Came tells whether the peer's connection has come, that too which lies in the
// listener's queue.
func (l *Lease) Came() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.acceptQueued()
	return l.state == delivered || l.state == taken
}

// Approached tells whether a connection of the peer is here whose owner is not
// known yet.
func (l *Lease) Approached() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	if !l.pending() || l.port.open == nil {
		return false
	}
	for peer := range l.port.open.unproven {
		if l.request.admits(peer) {
			return true
		}
	}
	return false
}

// TurnedAway is the address of a connection that was refused on the port while
// the lease was pending, because it was nobody's: it may have been meant for the
// lease. ok is false if there was none.
func (l *Lease) TurnedAway() (peer netip.Addr, ok bool) {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return l.away, l.away.IsValid()
}
