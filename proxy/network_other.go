//go:build !linux

package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

type controlFunc = func(network, address string, c syscall.RawConn) error

// controlListener sets nothing: ABOR sent as urgent data needs Linux.
func controlListener(_, _ string, _ syscall.RawConn) error { return nil }

// dialled leaves a socket as it is.
func dialled(uint16) controlFunc {
	return func(string, string, syscall.RawConn) error { return nil }
}

// errTransparent tells what another system lacks.
var errTransparent = fmt.Errorf("an address that is not this machine's needs Linux: %w", errors.ErrUnsupported)

func setTransparent(string, syscall.RawConn) error { return errTransparent }

// MayBind leaves it to the first connection what addresses and ports there are.
func (TCP) MayBind(local Local) error {
	if local.Transparent {
		return errTransparent
	}
	return nil
}

func tuneControl(net.Conn) {}

func acknowledgeAtOnce(*net.TCPConn) {}

// finReceived cannot tell.
func finReceived(net.Conn) bool { return false }

// wasReset cannot tell.
func wasReset(net.Conn) bool { return false }

// peek cannot tell whether anything comes.
func peek(net.Conn) error { return nil }

// writeUrgent sends b in line.
func writeUrgent(conn net.Conn, b []byte) error {
	_, err := conn.Write(b)
	return err
}

func dataListener(_, _ string, _ syscall.RawConn) error { return nil }

// listenBeside leaves it to the system whether both can be had.
func listenBeside(addr netip.AddrPort, _ []net.Listener) (net.Listener, error) {
	return listenTCP(addr, controlListener)
}

func takeSign() {}

// waiting cannot tell.
func waiting(net.Listener) bool { return true }
