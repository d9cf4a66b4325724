package tcp

import (
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

// SetPacingRate bounds what leaves the socket of a connection, in bytes per second; 0
// is no limit. The kernel paces by itself, with any queueing discipline, since Linux
// 4.13. The error wraps [errors.ErrUnsupported] where the connection is not TCP or the
// system is not Linux.
func SetPacingRate(conn net.Conn, bytesPerSecond int64) error {
	rate, unsent := uint64(math.MaxUint64), 0 // the kernel's words for no limit
	if bytesPerSecond > 0 {
		rate = uint64(bytesPerSecond)
		unsent = int(min(max(bytesPerSecond/unsentParts, leastUnsent), math.MaxInt32))
	}
	return ask(conn, func(fd int) error {
		if err := unix.SetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate); err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	})
}

// PacketSize returns how many bytes are sent at a time to a peer that is sent little, 0
// where that is not known: two segments, and more the nearer the peer is
// (tcp_tso_rtt_log in Linux's ip-sysctl), but no more than the congestion window.
func PacketSize(conn net.Conn) (n int) {
	const most, near = 64 << 10, 9
	_ = ask(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			window := int64(info.Snd_cwnd) * int64(info.Snd_mss)
			n = int(min(max(2*int64(info.Snd_mss), most>>(info.Min_rtt>>near)), window, most))
		}
		return err
	})
	return n
}
