package tcp

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// IsTimeout tells whether an error is that of a deadline, ours or the kernel's.
func IsTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// ByPeer tells whether a stream has ended, by this error, with the peer's own FIN or RST.
func ByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
