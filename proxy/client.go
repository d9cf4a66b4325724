package proxy

import (
	"ftproxy/internal/control"
	"ftproxy/internal/ftp"
	"ftproxy/internal/registry"
)

// A client is the control connection of a session's client, and what was read from it
// ahead. The session's loop owns everything here.
type client struct {
	control.Peer[ftp.Command]
	security security
	greeted  bool             // it has had its greeting
	chosenBy string           // the user whose server it gets, where that depends on the user
	replay   []*queued        // that the server is to hear before USER
	queue    []*queued        // commands read ahead
	saidAt   int              // fills, when the command under way was read
	last     registry.Command // for others to see
}

// A queued command waits for its turn.
type queued struct {
	ftp.Command
	again    int    // how many identical NOOPs follow: they keep a connection alive
	replayed bool   // the client has its answer
	sent     bool   // an ABOR that was sent at once; only its reply waits
	fill     int    // how often the client had been read when this was
	answer   []byte // its reply
}

// next takes the first command out of the queue.
func (c *client) next() *queued {
	q := c.queue[0]
	if q.again > 0 {
		q.again--
		return q
	}
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return q
}

// enqueue keeps a command until its turn. Clients keep their connection alive
// with NOOPs as long as a transfer lasts; these must not fill the queue, or an
// ABOR after them would not be seen.
func (c *client) enqueue(command ftp.Command, fill int) {
	if n := len(c.queue); n > 0 && isNOOP(command) && isNOOP(c.queue[n-1].Command) {
		c.queue[n-1].again++
		return
	}
	c.queue = append(c.queue, &queued{Command: command.Clone(), fill: fill})
}

func isNOOP(c ftp.Command) bool { return c.Verb == "NOOP" && !c.HasArg && c.Fault == nil }

// quits tells whether QUIT waits in the queue.
func (c *client) quits() bool {
	for _, q := range c.queue {
		if q.Verb == "QUIT" {
			return true
		}
	}
	return false
}

// secured tells whether the control connection is protected.
func (c *client) secured() bool { return c.TLS() != 0 }

// protects tells whether the client's data connections are protected.
func (c *client) protects() bool { return c.secured() && c.security.Level == 'P' }
