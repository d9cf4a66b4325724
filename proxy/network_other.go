//go:build !linux

package proxy

import (
	"net"
	"syscall"
)

type controlFunc = func(network, address string, c syscall.RawConn) error

// controlListener sets nothing: ABOR sent as urgent data needs Linux.
func controlListener(_, _ string, _ syscall.RawConn) error { return nil }

// resetOnClose leaves a close as it is.
func resetOnClose(_, _ string, _ syscall.RawConn) error { return nil }

func tuneControl(net.Conn) {}

// finReceived cannot tell.
func finReceived(net.Conn) bool { return false }

// peek cannot tell whether anything comes.
func peek(net.Conn) error { return nil }

// writeUrgent sends b in line.
func writeUrgent(conn net.Conn, b []byte) error {
	_, err := conn.Write(b)
	return err
}
