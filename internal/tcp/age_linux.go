package tcp

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// The age of a connection is told in ticks of the kernel, which stand still while the
// processor that counts them does: a virtual one is taken away for a tenth of a second
// and more. So what is compared with it is taken from the clock that is counted with them.

// Ticks is the time by the kernel's coarse clock, which [Born] counts by. Only its
// differences mean anything.
func Ticks() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return time.Now()
	}
	return time.Unix(ts.Unix())
}

// Born tells when the first SYN of an accepted connection came, by the clock of [Ticks].
// TCP has no time of it, but says how long ago the handshake ended, how long it took
// since the SYN-ACK that the peer answered, and how often that was sent again, after
// 1, 3 and 7 s. The greater of the two is how long it took at least. It must be asked
// before anything is sent. It is now where the connection cannot tell.
func Born(conn net.Conn) time.Time {
	at, err := inquire(conn, born)
	if err != nil {
		return Ticks()
	}
	return time.Unix(0, at)
}

// born is in nanoseconds.
func born(fd int) (int64, error) {
	now, age := Ticks(), time.Duration(0)
	for range 10 { // The two must be read together.
		asked := now
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, err
		}
		now = Ticks()
		handshake := time.Duration(info.Rtt) * time.Microsecond
		if n := min(info.Total_retrans, 10); n > 0 {
			handshake = max(handshake, (1<<n-1)*time.Second)
		}
		age = time.Duration(info.Last_data_sent)*time.Millisecond + handshake
		if now.Sub(asked) < tickSlack {
			break
		}
	}
	return now.Add(-age).UnixNano(), nil
}

// tickSlack is how far apart two readings that belong together may be.
const tickSlack = 5 * time.Millisecond
