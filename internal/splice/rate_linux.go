package splice

import (
	"errors"
	"math"
	"net"

	"golang.org/x/sys/unix"
)

const (
	// unsentParts is the part of a second for which bytes wait in the send
	// queue of a paced connection, so that few of them are on our side of it:
	// the sender is told the truth and final replies are not held for long.
	unsentParts = 2
	leastUnsent = 16 << 10
)

// setRate bounds what leaves the socket below c. The kernel paces by itself,
// with any queueing discipline, since Linux 4.13.
func setRate(c net.Conn, bytesPerSecond int64) error {
	tcp, ok := socket(c)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	rate, unsent := uint64(math.MaxUint64), 0 // the kernel's words for no limit
	if bytesPerSecond > 0 {
		rate = uint64(bytesPerSecond)
		unsent = int(min(max(bytesPerSecond/unsentParts, leastUnsent), math.MaxInt32))
	}
	cerr := raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate); err == nil {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		}
	})
	return errors.Join(cerr, err)
}
