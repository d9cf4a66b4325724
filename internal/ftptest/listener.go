package ftptest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// A Listener is what Host.Listen returns.
type Listener struct {
	host    *Host
	addr    netip.AddrPort
	foreign bool       // opened by ListenForeign
	wake    *sync.Cond // on the network's mutex

	queue    []*Conn // established, not yet accepted
	closed   bool
	deadline deadline
}

// Accept returns the next connection, a *Conn. The error wraps net.ErrClosed
// after Close and os.ErrDeadlineExceeded after the deadline.
func (l *Listener) Accept() (net.Conn, error) {
	l.host.network.mu.Lock()
	defer l.host.network.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, l.failed("accept", net.ErrClosed)
		case l.deadline.passed():
			return nil, l.failed("accept", os.ErrDeadlineExceeded)
		case len(l.queue) > 0:
			return l.pop(), nil
		}
		l.wake.Wait()
	}
}

// pop takes the oldest connection from the queue, which is not empty.
func (l *Listener) pop() *Conn {
	c := l.queue[0]
	l.queue = l.queue[1:]
	l.host.open[c] = struct{}{}
	return c
}

// tryAccept is Accept for those who do not wait: it returns nil when there is
// nothing to accept.
func (l *Listener) tryAccept() *Conn {
	l.host.network.mu.Lock()
	defer l.host.network.mu.Unlock()
	if l.closed || len(l.queue) == 0 {
		return nil
	}
	return l.pop()
}

// pending returns how many connections nobody has accepted yet.
func (l *Listener) pending() int {
	l.host.network.mu.Lock()
	defer l.host.network.mu.Unlock()
	return len(l.queue)
}

// Close ends listening and resets the connections nobody has accepted.
func (l *Listener) Close() error {
	l.host.network.mu.Lock()
	defer l.host.network.mu.Unlock()
	if l.closed {
		return l.failed("close", net.ErrClosed)
	}
	l.closed = true
	l.deadline.stop()
	for _, c := range l.queue {
		c.linger = 0
		c.shut()
	}
	l.queue = nil
	l.host.listeners = slices.DeleteFunc(l.host.listeners, func(o *Listener) bool { return o == l })
	delete(l.host.open, l)
	l.wake.Broadcast()
	return nil
}

// Addr returns the *net.TCPAddr listened on, with the port that was picked.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// SetDeadline bounds Accept as net.TCPListener.SetDeadline does.
func (l *Listener) SetDeadline(t time.Time) error {
	l.host.network.mu.Lock()
	defer l.host.network.mu.Unlock()
	if l.closed {
		return l.failed("set", net.ErrClosed)
	}
	l.deadline.set(t, l.wake)
	return nil
}

func (l *Listener) String() string { return fmt.Sprintf("listener %v", l.addr) }

func (l *Listener) covers(a netip.Addr) bool { return covers(l.addr.Addr(), a) }

func (l *Listener) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: l.Addr(), Err: err}
}

// A deadline is a point in time after which waiting on a Cond is over. It is
// guarded by the Cond's lock.
type deadline struct {
	at    time.Time
	over  bool
	timer *time.Timer
}

// set moves the deadline to t, or removes it when t is zero, and wakes those
// who wait so that they look again.
func (d *deadline) set(t time.Time, wake *sync.Cond) {
	d.stop()
	d.at, d.over = t, false
	if !t.IsZero() {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			wake.L.Lock()
			defer wake.L.Unlock()
			if d.timer == timer {
				d.over = true
				wake.Broadcast()
			}
		})
		d.timer = timer
	}
	wake.Broadcast()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) passed() bool {
	return d.over || !d.at.IsZero() && !time.Now().Before(d.at)
}
