package listeners

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"ftproxy/config"
	"ftproxy/internal/tcp"
)

// descriptors watches over the process's file descriptors. A new one is always the
// lowest that is free, so the number of a new connection tells how many are in
// use, without counting.
type descriptors struct {
	limit int // 0: unknown

	mu     sync.Mutex
	spare  *os.File // closed to accept one more connection when none is free
	closed bool
	told   time.Time // when it was last logged that none is free
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
	return number >= d.limit-config.KeptDescriptors(d.limit)
}

const (
	// turnAwayTime bounds the wait for a connection that may be gone by now.
	turnAwayTime = 10 * time.Millisecond
	// exhaustedPause is how long nobody is accepted while no descriptor is free.
	exhaustedPause = 20 * time.Millisecond
	// exhaustedNews is how often that is logged.
	exhaustedNews = time.Minute
)

// exhausted is what a listener does instead of accepting when no descriptor is free:
// whoever waits there gets 421 rather than silence. It returns when accepting is
// worth another try.
func (ls *Listeners) exhausted(l *listener, cause error) {
	if ls.descriptors.isNews() {
		ls.log.Error().Err(cause).Stringer("listen", l.key).
			Msg("no file descriptor is free")
	}
	if tcp.Waiting(l.Listener) && ls.turnAway(l) {
		return
	}
	select {
	case <-time.After(exhaustedPause):
	case <-ls.closing:
	}
}

func (d *descriptors) isNews() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := time.Since(d.told) > exhaustedNews
	if news {
		d.told = time.Now()
	}
	return news
}

// turnAway refuses one connection with the spare descriptor. It reports false if
// there was none, or the connection is gone.
func (ls *Listeners) turnAway(l *listener) bool {
	d := &ls.descriptors
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reserve() // Somebody else may have taken it the last time.
	timed, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if d.spare == nil || !ok {
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
	ls.serve(conn, l.key, true)
	return true
}

// HasSpare tells whether there is one descriptor for who comes when there are none.
// Tests wait for that.
func (ls *Listeners) HasSpare() bool {
	ls.descriptors.mu.Lock()
	defer ls.descriptors.mu.Unlock()
	return ls.descriptors.spare != nil
}
