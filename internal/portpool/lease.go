package portpool

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

type state int

const (
	pending   state = iota // waits for its peer's connection
	delivered              // conn is there, nobody has taken it
	taken                  // Accept has returned conn
	ended                  // Accept fails with err
)

// A Lease is a port on loan for one peer. All its fields but settled and
// request are guarded by the pool's mutex.
type Lease struct {
	pool    *Pool
	port    *port
	request Request
	since   time.Time     // from when its age counts
	settled chan struct{} // closed when the lease is no longer pending
	state   state
	conn    net.Conn // while delivered
	err     error    // once ended
}

// Addr is the address that listens for the peer: Request.Local and the port.
func (l *Lease) Addr() netip.AddrPort { return l.port.addr }

// Err is why the lease has ended; nil while it is good.
func (l *Lease) Err() error {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return l.err
}

// Accept waits for the peer's connection, as the listener gave it: the caller
// closes it. It returns ErrExpired if the lease was taken back, ErrClosed if
// the lease is closed or its connection was taken before, and the cause of
// ctx if that ended first; the lease is then still good. A connection that is
// already there is returned even when ctx has ended.
func (l *Lease) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case <-l.settled:
	case <-ctx.Done():
	}
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	switch l.state {
	case pending:
		return nil, context.Cause(ctx)
	case delivered:
		conn := l.conn
		l.conn, l.state = nil, taken
		delete(l.pool.untaken, l)
		return conn, nil
	case taken:
		return nil, ErrClosed
	default:
		return nil, l.err
	}
}

// Close gives the port back and closes a connection that came and was not
// taken. With Request.Hold the caller closes the connection that it took first
// and the lease after it. Safe to repeat and to call while Accept waits.
func (l *Lease) Close() error {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.end(l, ErrClosed, now)
	p.arm(now)
	return nil
}

// Approached tells whether a connection that may be the lease's is being identified.
func (l *Lease) Approached() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	if l.state != pending {
		return false
	}
	for conn, o := range l.pool.unknown {
		if o == l.port.open && l.request.trusts(peerOf(conn)) {
			return true
		}
	}
	return false
}

// deliver hands the peer's connection to the lease.
func (p *Pool) deliver(l *Lease, conn net.Conn, now time.Time) {
	l.conn, l.state = conn, delivered
	p.untaken[l] = struct{}{}
	close(l.settled)
	if !l.request.Hold {
		p.release(l, true, now)
		return
	}
	p.closeIdle(l.port)
	p.unblock(l.port, now)
}

// end makes Accept fail with err, closes a connection that nobody took, and
// gives the key back. A pending lease leaves a quarantine.
func (p *Pool) end(l *Lease, err error, now time.Time) {
	was := l.state
	l.state, l.err = ended, err
	switch was {
	case pending:
		close(l.settled)
		if !p.closed {
			owner := l.request.Owner
			if err == ErrExpired {
				owner = 0
			}
			p.quarantine(l, owner, now)
		}
		p.release(l, false, now)
	case delivered:
		delete(p.untaken, l)
		refuse(l.conn)
		l.conn = nil
		fallthrough
	case taken:
		if l.request.Hold {
			p.release(l, true, now)
		}
	}
}

// release takes the lease off its port and offers the key to those who wait.
func (p *Pool) release(l *Lease, used bool, now time.Time) {
	pt := l.port
	i := slices.Index(pt.leases, l)
	pt.leases = slices.Delete(pt.leases, i, i+1)
	if l.request.Hold {
		p.clock++
		pt.remember(l.request.Peer, p.clock)
	}
	p.events.Returned(l.request, used)
	// The listener is closed before the port is lent again, so that what lies
	// in its backlog is not taken for the connection of the next lease.
	p.closeIdle(pt)
	if p.closed {
		return
	}
	p.offer(pt, &l.request, now)
	p.unblock(pt, now)
	p.forget(pt)
}
