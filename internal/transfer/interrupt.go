package transfer

import (
	"net"
	"time"

	"ftproxy/internal/tcp"
)

// holdServer is how long the server's connection outlives an interrupted transfer at the
// most. Servers that read commands during a transfer have answered ABOR by then; others
// notice only that the connection is broken.
const holdServer = 250 * time.Millisecond

// A hold keeps the server's connection open for the server, until it is over.
type hold struct {
	answered chan struct{} // closed by Answered
	over     chan struct{}
}

// noteServer notes the server's connection, which Interrupt may hold.
func (t *Transfer) noteServer(conn net.Conn) {
	t.server.Store(&conn)
	t.serverHere.Store(true)
}

// Interrupt is Abort for the client's ABOR, which goes to the server next. The client's
// connection is reset at once. The server's is reset when the server has answered (Answered),
// or holdServer later: if it found the transfer broken before it reads ABOR, it would
// say that there is none to abort (225). No byte moves meanwhile.
func (t *Transfer) Interrupt() {
	if conn := t.server.Load(); conn != nil && t.hold.Load() == nil {
		h := &hold{answered: make(chan struct{}), over: make(chan struct{})}
		release := tcp.Hold(*conn)
		t.hold.Store(h)
		t.options.Runner.Outlive(func() { t.holdOn(h, release) })
	}
	t.cancel(ErrAborted)
}

// Ebb is Interrupt for an upload that the server has accepted. What the client has sent
// before its ABOR is still passed on, and the end of its data if it closes: servers that
// look at ABOR only then store all of it (vsftpd), and ffmpeg relies on that. Both
// connections are reset when the server has answered (Answered), or holdServer later. It
// reports false, and does nothing, where the server is not connected yet.
func (t *Transfer) Ebb() bool {
	if t.server.Load() == nil || t.hold.Load() != nil {
		return false
	}
	h := &hold{answered: make(chan struct{}), over: make(chan struct{})}
	t.hold.Store(h)
	t.options.Runner.Outlive(func() {
		t.holdOn(h, func() { t.cancel(ErrAborted) })
	})
	return true
}

func (t *Transfer) holdOn(h *hold, release func()) {
	defer close(h.over)
	defer release()
	limit := time.NewTimer(holdServer)
	defer limit.Stop()
	select {
	case <-h.answered:
	case <-limit.C:
	case <-t.options.Runner.Cut.Done():
	}
}

// Answered says that the server has answered, which ends what Interrupt has begun.
func (t *Transfer) Answered() {
	h := t.hold.Load()
	if h == nil {
		return
	}
	select {
	case <-h.answered:
	default:
		close(h.answered)
	}
}

// closeServer gives the port of the server's leg back when its connection is closed.
func (t *Transfer) closeServer() {
	if h := t.hold.Load(); h != nil {
		<-h.over
	}
	_ = t.options.Server.Close()
}

// closeLeg gives the port of a leg back.
func (t *Transfer) closeLeg(at Side) {
	if at == ServerSide {
		t.closeServer()
		return
	}
	_ = t.options.Client.Close()
}
