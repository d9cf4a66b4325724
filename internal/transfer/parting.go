package transfer

import (
	"context"
	"io"
	"net"
	"time"

	"ftproxy/internal/tcp"
)

// part closes a connection that was agreed on and carried nothing. A close with
// something unread would be a reset, and FileZilla takes the reset of a connection on
// which it has begun TLS for a reason to try again.
func (t *Transfer) part(conn net.Conn) {
	if tcp.Unread(conn) == 0 {
		_ = conn.Close()
		return
	}
	t.partLater(conn)
}

// partLater does so for a peer whose next bytes may be on their way.
func (t *Transfer) partLater(conn net.Conn) {
	t.options.Runner.Outlive(func() {
		partSlowly(t.options.Runner.Cut, tcp.Underlying(conn), t.options.Timeouts.Linger)
	})
}

// maxParting is how much of what a peer sends is read before its connection is
// closed all the same.
const maxParting = 64 << 10

func partSlowly(cut context.Context, conn net.Conn, limit time.Duration) {
	defer conn.Close()
	_ = tcp.CloseWrite(conn)
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(cut, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.CopyN(io.Discard, conn, maxParting)
}
