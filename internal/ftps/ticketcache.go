package ftps

import (
	"crypto/tls"
	"sync"
)

// A ticketCache is the TLS sessions of one session with its server. A server that
// insists on resumption takes each TLS 1.3 ticket once, and gives new ones on every
// connection, so the newest goes first and the last one is kept.
type ticketCache struct {
	mu    sync.Mutex
	state []*tls.ClientSessionState
	asked int  // how many handshakes have begun
	given bool // the server has given one
}

// maxTickets bounds what one server can make us keep.
const maxTickets = 4

// Get implements [tls.ClientSessionCache]; the session has one server, so one key.
func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	n := len(c.state)
	if n == 0 {
		return nil, false
	}
	newest := c.state[n-1]
	if n > 1 {
		c.state = c.state[:n-1]
	}
	return newest, true
}

// Put keeps a new one. crypto/tls says nil of one that a server did not take.
func (c *ticketCache) Put(_ string, state *tls.ClientSessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == nil {
		return
	}
	c.given = true
	if len(c.state) == maxTickets {
		c.state = append(c.state[:0], c.state[1:]...)
	}
	c.state = append(c.state, state)
}

// missing tells whether a data connection had nothing to resume, because the server has
// never given a ticket. The first handshake is the control connection's.
func (c *ticketCache) missing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked > 1 && !c.given
}

// LacksTickets tells whether data connections with a configuration of Session had
// nothing to resume, because the server has never given a ticket.
func LacksTickets(c *tls.Config) bool {
	tickets, ok := c.ClientSessionCache.(*ticketCache)
	return ok && tickets.missing()
}
