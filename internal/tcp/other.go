//go:build !linux

package tcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// What other systems than Linux answer.

// controlListener sets nothing: ABOR sent as urgent data needs Linux.
func controlListener(_, _ string, _ syscall.RawConn) error { return nil }

// dialled leaves a socket as it is.
func dialled(uint16) controlFunc { return controlListener }

// dataSocket leaves a socket as it is.
func dataSocket(_, _ string, _ syscall.RawConn) error { return nil }

// takeSign has nothing to settle.
func takeSign() {}

// listenBeside leaves it to the system whether both can be had.
func listenBeside(addr netip.AddrPort, _ []net.Listener) (net.Listener, error) {
	return listenTCP(addr, controlListener)
}

// A dataListener has a queue that cannot be asked for here.
type dataListener struct{ *net.TCPListener }

// errTransparent tells what another system lacks.
var errTransparent = fmt.Errorf("an address that is not this machine's needs Linux: %w", errors.ErrUnsupported)

func setTransparent(string, syscall.RawConn) error { return errTransparent }

func setFreeBind(string, syscall.RawConn) error { return errTransparent }

// MayBind leaves it to the first connection what addresses and ports there are.
func (Network) MayBind(local Local) error {
	if local.Transparent {
		return errTransparent
	}
	return nil
}

// Waiting cannot tell, so it returns true.
func Waiting(net.Listener) bool { return true }

// TuneControl does nothing.
func TuneControl(net.Conn) {}

// Ticks is the time.
func Ticks() time.Time { return time.Now() }

// Born is now: only Linux tells more.
func Born(net.Conn) time.Time { return time.Now() }

// Peek cannot tell whether anything comes, so it returns nil.
func Peek(net.Conn) error { return nil }

// Unread is not known here.
func Unread(net.Conn) int { return 0 }

// Unacknowledged is not known here.
func Unacknowledged(net.Conn) (int, error) { return 0, errors.ErrUnsupported }

// FINReceived is not known here.
func FINReceived(net.Conn) bool { return false }

// Over is not known here.
func Over(net.Conn) bool { return false }

// Ended is not known here.
func Ended(net.Conn) bool { return false }

// PacketSize is not known here.
func PacketSize(net.Conn) int { return 0 }

// SetPacingRate is not possible here.
func SetPacingRate(net.Conn, int64) error { return errors.ErrUnsupported }

// WriteUrgent sends b in line.
func WriteUrgent(conn net.Conn, b []byte) error {
	_, err := conn.Write(b)
	return err
}

func acknowledgeAtOnce(*net.TCPConn) {}

// Hold holds nothing: the peer sees the end when the connection is closed.
func Hold(net.Conn) (release func()) { return func() {} }
