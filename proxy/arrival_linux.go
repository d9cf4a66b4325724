package proxy

import (
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The age of a connection is told in ticks of the kernel, which stand still while the
// processor that counts them does: a virtual one is taken away for a tenth of a second
// and more. So what is compared with it is taken from the clock that is counted with them.

// ticks is the time by the kernel's coarse clock. Only its differences mean anything.
func ticks() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return time.Now()
	}
	return time.Unix(ts.Unix())
}

// born tells when the first SYN of an accepted connection came, by the clock of ticks.
// TCP has no time of it, but says how long ago the handshake ended, how long it took
// since the SYN-ACK that the peer answered, and how often that was sent again, after
// 1, 3 and 7 s. The greater of the two is how long it took at least. It must be asked
// before anything is sent.
func born(conn net.Conn) time.Time {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return ticks()
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return ticks()
	}
	var now time.Time
	age := time.Duration(0)
	_ = raw.Control(func(fd uintptr) {
		for range 10 { // The two must be read together.
			asked := ticks()
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if now = ticks(); err != nil {
				return
			}
			handshake := time.Duration(info.Rtt) * time.Microsecond
			if n := min(info.Total_retrans, 10); n > 0 {
				handshake = max(handshake, (1<<n-1)*time.Second)
			}
			age = time.Duration(info.Last_data_sent)*time.Millisecond + handshake
			if now.Sub(asked) < tickSlack {
				return
			}
		}
	})
	return now.Add(-age)
}

// tickSlack is how far apart two readings that belong together may be.
const tickSlack = 5 * time.Millisecond

// A dataListener can be asked for what is in its queue.
type dataListener struct{ *net.TCPListener }

// Queued accepts what is in the queue, without waiting.
func (l dataListener) Queued() (conns []net.Conn) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		for {
			accepted, _, err := unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err == unix.EINTR || err == unix.ECONNABORTED {
				continue
			}
			if err != nil {
				return // No more, or no descriptor: closing resets the rest.
			}
			file := os.NewFile(uintptr(accepted), "")
			conn, err := net.FileConn(file)
			_ = file.Close()
			if err != nil {
				continue
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetKeepAliveConfig(keepAlive)
			}
			conns = append(conns, conn)
		}
	})
	return conns
}

// unreadInput tells whether the kernel holds something that the peer sent.
func unreadInput(conn net.Conn) (some bool) {
	if c, ok := conn.(interface{ Unread() bool }); ok {
		return c.Unread()
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		some = err == nil && n > 0
	})
	return some
}

// unacknowledged tells whether the peer's kernel has not confirmed all that was
// written. A connection that cannot tell has no such delay.
func unacknowledged(conn net.Conn) (waits bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetUint32(int(fd), unix.SIOCOUTQ)
		waits = err == nil && n > 0
	})
	return waits
}
