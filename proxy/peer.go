package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"ftproxy/internal/tcp"
)

// A peer is one control connection of a session and the pump that reads it.
// The session loop owns everything here; the pump only fills the reader's
// buffer while the loop waits for it, so that its stack stays small.
type peer[T any] struct {
	conn   net.Conn
	reader reader[T]
	ask    chan struct{}
	in     chan error // the pump has read something, or cannot; or next is there
	// asked: the pump reads, or in has what came of it.
	asked bool
	next  *got[T] // was in the buffer already
	// ended: the pump met the end of the stream, by failure.
	ended   bool
	failure error
	fills   int           // how often the pump has read something
	out     []byte        // written at the next flush
	limit   time.Duration // for one write, until a hard stop
	until   time.Time     // the write deadline that is set
	// broken: nothing can be written any more.
	broken bool
	// halfClosed: our FIN went out.
	halfClosed bool
	entry      *entry
	tls        uint16         // the version; 0: in the clear
	pumps      sync.WaitGroup // before and after an upgrade
}

// lastWrite is how long the last words of a session may take after a hard stop.
const lastWrite = time.Second

// A reader cuts a stream into messages (internal/ftp).
type reader[T any] interface {
	// Read waits for a message. Nobody calls it while there is a pump.
	Read() (T, error)
	// Next returns a message that is there already. Its error stays.
	Next() (msg T, ok bool, err error)
	// Fill waits for more of the stream.
	Fill() error
	// Buffered is how many bytes were read and not returned.
	Buffered() int
	// Switch goes on with another stream. Nothing may be buffered.
	Switch(r io.Reader)
}

// got is one message from a peer, or the error that ended its stream.
type got[T any] struct {
	msg T
	err error
}

// start starts the pump of a peer that has a connection and its reader. limit bounds
// each write from now on.
func (p *peer[T]) start(limit time.Duration, e *entry) {
	p.limit, p.entry, p.tls = limit, e, versionOf(p.conn)
	e.replace(nil, p.conn)
	p.startPump()
}

// versionOf is the version of TLS on a connection, or 0.
func versionOf(conn net.Conn) uint16 {
	if secured, ok := conn.(*tls.Conn); ok {
		return secured.ConnectionState().Version
	}
	return 0
}

func (p *peer[T]) startPump() {
	p.ask, p.in = make(chan struct{}, 1), make(chan error, 1)
	p.pumps.Add(1)
	go pump(p.ask, p.reader.Fill, p.in, &p.pumps)
}

// wait waits for the end of the pump, after close or reset.
func (p *peer[T]) wait() { p.pumps.Wait() }

// quiet stops reading, and tells whether nothing has come that was not returned.
// After it only upgrade makes the peer readable again.
func (p *peer[T]) quiet() bool {
	if p.asked && p.next == nil {
		_ = p.conn.SetReadDeadline(time.Unix(1, 0))
		err := <-p.in
		_ = p.conn.SetReadDeadline(time.Time{})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
	}
	return p.next == nil && p.reader.Buffered() == 0
}

// upgrade goes on over conn, which is made of the connection so far.
func (p *peer[T]) upgrade(conn net.Conn) {
	close(p.ask)
	p.entry.replace(p.conn, conn)
	p.conn, p.asked, p.until, p.tls = conn, false, time.Time{}, versionOf(conn)
	p.reader.Switch(conn)
	p.startPump()
}

// pump fills the buffer once for each ask, so nobody reads while the session
// upgrades the connection to TLS, and a message that aliases the buffer stays
// whole until the next ask. out holds one error: pump never waits on it.
func pump(ask <-chan struct{}, fill func() error, out chan<- error, done *sync.WaitGroup) {
	defer done.Done()
	for range ask {
		err := fill()
		out <- err
		if err != nil {
			return
		}
	}
}

// request makes the next message come through in, if it is not on its way. The
// last one, which may alias the buffer, is void now.
func (p *peer[T]) request() {
	if p.asked || p.ended {
		return
	}
	p.asked = true
	g, ok := p.buffered()
	if !ok {
		p.ask <- struct{}{}
		return
	}
	next := g // Only where it is kept it is on the heap.
	p.next = &next
	p.in <- nil
}

// buffered is the next message, or the error that stays, without waiting.
func (p *peer[T]) buffered() (g got[T], ok bool) {
	g.msg, ok, g.err = p.reader.Next()
	return g, ok || g.err != nil
}

// received takes what in has told of; there may be no whole message yet.
func (p *peer[T]) received(err error) (g got[T], ok bool) {
	switch {
	case p.next != nil:
		g, p.next = *p.next, nil
	case err != nil:
		g.err = err
	default:
		p.fills++
		if g, ok = p.buffered(); !ok {
			p.ask <- struct{}{}
			return g, false
		}
	}
	p.asked = false
	p.ended, p.failure = g.err != nil, g.err
	return g, true
}

// filled is how often the pump has read something by now, that too which the loop has
// not seen yet.
func (p *peer[T]) filled() int {
	if p.asked && p.next == nil && len(p.in) > 0 {
		return p.fills + 1
	}
	return p.fills
}

// keptOut is how much of an output buffer an idle peer keeps.
const keptOut = 512

// flush writes what was collected in out, whole lines in one write: some
// firewalls drop a line that is split.
func (p *peer[T]) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	err := p.write(p.out)
	if cap(p.out) > keptOut {
		p.out = nil
	}
	p.out = p.out[:0]
	return err
}

// write writes b at once.
func (p *peer[T]) write(b []byte) error {
	if p.broken {
		return net.ErrClosed
	}
	p.limitWrite()
	_, err := p.conn.Write(b)
	p.broken = err != nil
	if _, secured := p.conn.(*tls.Conn); secured && err == nil && p.entry.hardStopped() == nil {
		// TLS writes by itself, too, to answer a KeyUpdate (RFC 8446 §4.6.3): a
		// deadline that has passed would break the stream.
		p.until = time.Time{}
		_ = p.conn.SetWriteDeadline(p.until)
	}
	return err
}

// writeUrgent writes b at once, its last byte as urgent data.
func (p *peer[T]) writeUrgent(b []byte) error {
	p.limitWrite()
	return tcp.WriteUrgent(p.conn, b)
}

// limitWrite bounds the next write. A deadline costs as much as a small write, so
// one that was set for an earlier write serves while nine tenths are left.
func (p *peer[T]) limitWrite() {
	now := time.Now()
	if p.until.Sub(now) < p.limit-p.limit/10 {
		p.until = now.Add(p.limit)
		_ = p.conn.SetWriteDeadline(p.until)
	}
	if p.entry.hardStopped() != nil {
		_ = p.conn.SetWriteDeadline(now.Add(min(p.limit, lastWrite)))
	}
}

// close ends the pump and the connection. A reader that is parked wakes up.
func (p *peer[T]) close() {
	p.entry.replace(p.conn, nil)
	close(p.ask)
	if p.broken { // TLS would try to say goodbye.
		_ = tcp.Underlying(p.conn).Close()
		return
	}
	_ = p.conn.Close()
}

// reset ends the pump and aborts the connection.
func (p *peer[T]) reset() {
	p.entry.replace(p.conn, nil)
	close(p.ask)
	tcp.Reset(p.conn)
}

// halfClose sends our FIN; the peer's may still come.
func (p *peer[T]) halfClose() {
	p.halfClosed = true
	if c, ok := p.conn.(*tls.Conn); ok {
		p.limitWrite()
		_ = c.CloseWrite() // Only close_notify.
	}
	_ = tcp.CloseWrite(p.conn)
}
