package transfer

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"ftproxy/internal/tcp"
)

// An idleWatch looks at a server's data connection between a transfer that the server
// has refused and the next one. Servers that end their data connection with the refusal
// (ProFTPD in passive mode) mean the client's, too.
type idleWatch struct {
	conn  net.Conn
	ended chan error // nil: what came is known
	err   error      // what came
}

// watchIdle watches conn, with the watch that there is already, if there is one.
func (t *Transfer) watchIdle(conn net.Conn, watch *idleWatch) *idleWatch {
	if watch != nil && (watch.ended != nil || watch.err == nil) {
		return watch
	}
	ended := make(chan error, 1)
	t.options.Runner.Go(func() { ended <- tcp.Peek(conn) })
	return &idleWatch{conn: conn, ended: ended}
}

// seen gives what came, once. nil is data.
func (w *idleWatch) seen() <-chan error {
	if w == nil {
		return nil
	}
	return w.ended
}

func (w *idleWatch) saw(err error) { w.ended, w.err = nil, err }

// stop ends the watch, so that nobody else reads from the connection. It returns the
// error of a connection that was reset, because who asks next is not told of it.
func (w *idleWatch) stop() error {
	if w == nil {
		return nil
	}
	if w.ended != nil {
		_ = w.conn.SetReadDeadline(time.Unix(1, 0))
		w.saw(<-w.ended)
		_ = w.conn.SetReadDeadline(time.Time{})
	}
	if w.err == nil || errors.Is(w.err, os.ErrDeadlineExceeded) || errors.Is(w.err, io.EOF) {
		return nil
	}
	return w.err
}

// probe looks whether anything comes from the server, where nothing may. Its
// kernel may have taken our connection and reset it when nobody accepted it
// (H50); so neither that nor an EOF is more than an empty listing.
func (t *Transfer) probe(conn net.Conn) chan bool {
	if !t.mayBeEmpty() || t.options.ServerTLS != nil { // A handshake is more than nothing.
		return nil
	}
	nothing := make(chan bool, 1)
	_ = conn.SetReadDeadline(time.Now().Add(EmptyGrace))
	t.options.Runner.Go(func() { awaitNothing(conn, nothing) })
	return nothing
}

func awaitNothing(conn net.Conn, nothing chan<- bool) {
	err := tcp.Peek(conn)
	nothing <- err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}
