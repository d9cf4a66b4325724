//go:build !linux

package splice

import "net"

// A leg is one conn of a copy. Its kernel state is known on Linux only.
type leg struct {
	conn net.Conn
}

func newLeg(c net.Conn) leg { return leg{conn: c} }

func (l leg) kernel() bool { return false }

func (l leg) finReceived() bool { return false }

func (l leg) outq() (int, error) { return 0, nil }

func (l leg) packet() int { return 0 }

func (c *Copy) watchDestination() {
	defer close(c.watched)
	c.watchConn()
}

func (c *Copy) watchSource() (again bool) { return false }

func (c *Copy) move() (Side, error) { return c.moveBuffered() }
