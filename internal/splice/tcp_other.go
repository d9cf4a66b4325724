//go:build !linux

package splice

import (
	"net"
	"syscall"
)

// The kernel's state of a connection is known on Linux only.
func rawConn(*net.TCPConn) syscall.RawConn { return nil }

func (l leg) finReceived() bool { return false }

func (l leg) outq() (int, error) { return 0, nil }

func (l leg) unread() int { return 0 }

func (l leg) packet() int { return 0 }

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
