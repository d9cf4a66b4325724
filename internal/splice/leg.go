package splice

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"

	"ftproxy/internal/tcp"
)

// A leg is one conn of a copy and, if it is TCP or TLS on TCP, the way to its
// socket.
type leg struct {
	conn  net.Conn
	tls   *tls.Conn       // conn, if it is TLS
	batch *batch          // what tls was made on, if that is one
	tcp   *net.TCPConn    // conn, or what tls was made on; nil if that is not TCP
	raw   syscall.RawConn // of tcp; nil where the kernel cannot be asked
}

func newLeg(c net.Conn) leg {
	l := leg{conn: c}
	switch c := c.(type) {
	case *net.TCPConn:
		l.tcp = c
	case *tls.Conn:
		l.tls = c
		l.batch, _ = c.NetConn().(*batch)
		l.tcp, _ = tcp.Socket(c)
	}
	if l.tcp != nil {
		l.raw = rawConn(l.tcp)
	}
	return l
}

// kernel reports whether the state of the connection in the kernel is known.
func (l leg) kernel() bool { return l.raw != nil }

// plain reports whether the payload itself is in the kernel's queues.
func (l leg) plain() bool { return l.kernel() && l.tls == nil }

// finReceived reports whether the peer has sent its FIN, which may be unread. It
// is false after a reset.
func (l leg) finReceived() bool { return l.kernel() && tcp.FINReceived(l.tcp) }

// unread returns how many bytes of payload wait to be read. It leaves the socket's
// error alone.
func (l leg) unread() int {
	if !l.plain() {
		return 0
	}
	return tcp.Unread(l.tcp)
}

// await waits until there is something to read, so that meanwhile nobody holds a
// buffer for it.
func (l leg) await() {
	if l.plain() || l.kernel() && l.batch != nil && l.batch.dry {
		l.awaitData()
	}
}

// read waits for payload and returns as much as is here: TLS returns no more than
// one record at a time.
func (l leg) read(buf []byte) (int, error) {
	n, err := l.conn.Read(buf)
	if l.batch == nil {
		return n, err
	}
	l.batch.here = true
	for err == nil && n < len(buf) {
		var more int
		more, err = l.conn.Read(buf[n:])
		n += more
	}
	l.batch.here = false
	l.batch.giveBack()
	if l.batch.dry = errors.Is(err, os.ErrDeadlineExceeded); l.batch.dry && n > 0 {
		err = nil
	}
	return n, err
}

// ciphertext returns how much TLS has read from its connection, records that are not
// whole yet included.
func (l leg) ciphertext() int64 {
	if l.batch == nil {
		return 0
	}
	return l.batch.received.Load()
}

// write sends a piece of payload, with one system call if the kernel has room.
// When that fails it is not known how much of it was sent.
func (l leg) write(piece []byte) (int, error) {
	if l.batch == nil {
		return l.conn.Write(piece)
	}
	l.batch.hold()
	n, err := l.conn.Write(piece)
	if sent := l.batch.release(); err == nil && sent != nil {
		return 0, sent
	}
	return n, err
}

// closeWrite half-closes the leg; a conn that cannot is closed. TLS says
// close_notify before its FIN. It returns how many numbers of the sequence that
// takes, after the payload.
func (l leg) closeWrite() (own int, err error) {
	if l.tls == nil {
		if err = closeWrite(l.conn); err == nil {
			own = 1
		}
		return own, err
	}
	// crypto/tls gives up after 5 s, a receiver may take longer to make room.
	l.awaitRoom()
	var before int64
	if l.batch != nil {
		before = l.batch.total()
	}
	err = l.tls.CloseWrite()
	if l.batch != nil {
		own = int(l.batch.total() - before)
	}
	switch fin := tcp.CloseWrite(l.tls); {
	case fin == nil:
		own++
	case !errors.Is(fin, errors.ErrUnsupported): // Without a FIN, close_notify has said it.
		err = errors.Join(err, fin)
	}
	return own, err
}

// close ends a leg whose EOF was read. With TLS nothing may be left unread, as the
// close would be a reset, and close_notify is not waited with for a peer that
// takes nothing.
func (l leg) close() {
	if l.tls != nil && l.kernel() {
		l.drain()
		if !l.hasRoom() {
			l.tcp.Close()
		}
	}
	l.conn.Close()
}

// closeWrite half-closes a conn; one that cannot is closed.
func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}
