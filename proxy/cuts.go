package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// cuts are the control connections whose blocked writes fail when the process is
// cut: their session is in the middle of one and cannot be told otherwise. A
// context for each would take a kilobyte of every session.
type cuts struct {
	cut   atomic.Bool // every write asks: no session waits for another's
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (c *cuts) add(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		c.conns = make(map[net.Conn]struct{})
	}
	c.conns[conn] = struct{}{}
}

func (c *cuts) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// made tells whether the process was cut.
func (c *cuts) made() bool { return c.cut.Load() }

// interrupt fails the writes that are blocked. From now on they have cutWrite.
func (c *cuts) interrupt() {
	c.cut.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.SetWriteDeadline(time.Unix(1, 0))
	}
}
