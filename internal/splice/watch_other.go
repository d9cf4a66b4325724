//go:build !linux

package splice

import (
	"net"
	"syscall"
)

// The kernel's state of a connection is known on Linux only.
func rawConn(*net.TCPConn) syscall.RawConn { return nil }

func (l leg) drain() {}

func (l leg) awaitData() {}

func (l leg) awaitRoom() {}

func (l leg) hasRoom() bool { return true }

func (c *Copy) watchDestination() {
	defer close(c.watched)
	c.watchConn()
}

func (c *Copy) watchSource() (again bool) { return false }

func (c *Copy) move() (Side, error) { return c.moveBuffered() }
