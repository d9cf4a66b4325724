package proxy

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// What of the descriptors is kept for the sessions that run: a new session is
// refused when fewer are free.
const (
	keptMost = 256
	keptPart = 8 // of all, at most one in so many
)

// descriptors watches over the process's file descriptors. A new one is always the
// lowest that is free, so the number of a new connection tells how many are in
// use, without counting.
type descriptors struct {
	limit int // 0: unknown

	mu     sync.Mutex
	spare  *os.File // closed to accept one more connection when none is free
	closed bool
}

func (d *descriptors) init(limit int) {
	d.limit = limit
	d.reserve()
}

// reserve opens the spare descriptor, if it is not open.
func (d *descriptors) reserve() {
	if d.spare == nil && d.limit > 0 && !d.closed {
		d.spare, _ = os.Open(os.DevNull)
	}
}

func (d *descriptors) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spare != nil {
		_ = d.spare.Close()
		d.spare = nil
	}
	d.closed = true
}

// scarce tells whether the connection that was just accepted took one of the
// descriptors that are kept.
func (d *descriptors) scarce(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok || d.limit == 0 {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	number := 0
	_ = raw.Control(func(fd uintptr) { number = int(fd) })
	return number >= d.limit-min(keptMost, d.limit/keptPart)
}

// turnAwayTime bounds the wait for a connection that may be gone by now.
const turnAwayTime = 10 * time.Millisecond

// turnAway refuses one connection when there is no descriptor to accept it with:
// its client gets 421 rather than silence. It reports false if it could not.
func (p *Process) turnAway(l *listener) bool {
	d := &p.descriptors
	d.mu.Lock()
	defer d.mu.Unlock()
	timed, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if d.spare == nil || !ok {
		d.reserve()
		return false
	}
	_ = d.spare.Close()
	d.spare = nil
	defer d.reserve()
	_ = timed.SetDeadline(time.Now().Add(turnAwayTime))
	defer func() { _ = timed.SetDeadline(time.Time{}) }()
	conn, err := l.Accept()
	if err != nil {
		return false
	}
	client := addrPort(conn.RemoteAddr())
	name := ""
	if fe := p.runtime.Load().frontendAt(l.key, addrPort(conn.LocalAddr()).Addr()); fe != nil {
		name = fe.name
		p.metrics.SessionRefused(name, "descriptors")
	}
	p.log.Warn().Str("frontend", name).Stringer("client", client).Str("limit", "descriptors").Msg("session refused")
	refuseClient(conn, "descriptors")
	return true
}
