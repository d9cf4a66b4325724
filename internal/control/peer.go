// Package control is one control connection of a session: the pump that reads it, what is
// written to it, its upgrade to TLS, and its end.
package control

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

// A Peer is one control connection of a session and the pump that reads it.
// The session loop owns everything here; the pump only fills the reader's
// buffer while the loop waits for it, so that its stack stays small.
type Peer[T any] struct {
	Conn   net.Conn
	Reader Reader[T]
	// Ended: the pump met the end of the stream, by Failure.
	Ended   bool
	Failure error
	Fills   int    // how often the pump has read something
	Out     []byte // written at the next flush
	// Broken: nothing can be written any more.
	Broken bool
	// HalfClosed: our FIN went out.
	HalfClosed bool

	ask chan struct{}
	in  chan error // the pump has read something, or cannot; or next is there
	// asked: the pump reads, or in has what came of it.
	asked bool
	next  *Got[T]       // was in the buffer already
	limit time.Duration // for one write, until a hard stop
	until time.Time     // the write deadline that is set
	stop  *HardStop
	tls   uint16         // the version; 0: in the clear
	pumps sync.WaitGroup // before and after an upgrade
}

// A Reader cuts a stream into messages (internal/ftp).
type Reader[T any] interface {
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

// A Got is one message from a peer, or the error that ended its stream.
type Got[T any] struct {
	Msg T
	Err error
}

// Start starts the pump of a peer that has Conn and its Reader. limit bounds each write
// from now on.
func (p *Peer[T]) Start(limit time.Duration, stop *HardStop) {
	p.limit, p.stop, p.tls = limit, stop, versionOf(p.Conn)
	stop.replace(nil, p.Conn)
	p.startPump()
}

// In tells when there is something for Received.
func (p *Peer[T]) In() <-chan error { return p.in }

// TLS is the version of TLS on the connection, or 0.
func (p *Peer[T]) TLS() uint16 { return p.tls }

// versionOf is the version of TLS on a connection, or 0.
func versionOf(conn net.Conn) uint16 {
	if secured, ok := conn.(*tls.Conn); ok {
		return secured.ConnectionState().Version
	}
	return 0
}

func (p *Peer[T]) startPump() {
	p.ask, p.in = make(chan struct{}, 1), make(chan error, 1)
	p.pumps.Add(1)
	go pump(p.ask, p.Reader.Fill, p.in, &p.pumps)
}

// Wait waits for the end of the pump, after Close or Reset.
func (p *Peer[T]) Wait() { p.pumps.Wait() }

// Quiet stops reading, and tells whether nothing has come that was not returned.
// After it only Upgrade makes the peer readable again.
func (p *Peer[T]) Quiet() bool {
	if p.asked && p.next == nil {
		_ = p.Conn.SetReadDeadline(time.Unix(1, 0))
		err := <-p.in
		_ = p.Conn.SetReadDeadline(time.Time{})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
	}
	return p.next == nil && p.Reader.Buffered() == 0
}

// Upgrade goes on over conn, which is made of the connection so far.
func (p *Peer[T]) Upgrade(conn net.Conn) {
	close(p.ask)
	p.stop.replace(p.Conn, conn)
	p.Conn, p.asked, p.until, p.tls = conn, false, time.Time{}, versionOf(conn)
	p.Reader.Switch(conn)
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

// Request makes the next message come through In, if it is not on its way. The
// last one, which may alias the buffer, is void now.
func (p *Peer[T]) Request() {
	if p.asked || p.Ended {
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
func (p *Peer[T]) buffered() (g Got[T], ok bool) {
	g.Msg, ok, g.Err = p.Reader.Next()
	return g, ok || g.Err != nil
}

// Received takes what In has told of; there may be no whole message yet.
func (p *Peer[T]) Received(err error) (g Got[T], ok bool) {
	switch {
	case p.next != nil:
		g, p.next = *p.next, nil
	case err != nil:
		g.Err = err
	default:
		p.Fills++
		if g, ok = p.buffered(); !ok {
			p.ask <- struct{}{}
			return g, false
		}
	}
	p.asked = false
	p.Ended, p.Failure = g.Err != nil, g.Err
	return g, true
}

// Filled is how often the pump has read something by now, that too which the loop has
// not seen yet.
func (p *Peer[T]) Filled() int {
	if p.asked && p.next == nil && len(p.in) > 0 {
		return p.Fills + 1
	}
	return p.Fills
}

// Pending tells whether something has come that Received has not told of.
func (p *Peer[T]) Pending() bool { return p.next != nil || len(p.in) > 0 }

// keptOut is how much of an output buffer an idle peer keeps.
const keptOut = 512

// Flush writes what was collected in Out, whole lines in one write: some
// firewalls drop a line that is split.
func (p *Peer[T]) Flush() error {
	if len(p.Out) == 0 {
		return nil
	}
	err := p.Write(p.Out)
	if cap(p.Out) > keptOut {
		p.Out = nil
	}
	p.Out = p.Out[:0]
	return err
}

// Write writes b at once.
func (p *Peer[T]) Write(b []byte) error {
	if p.Broken {
		return net.ErrClosed
	}
	p.limitWrite()
	_, err := p.Conn.Write(b)
	p.Broken = err != nil
	if _, secured := p.Conn.(*tls.Conn); secured && err == nil && p.stop.HardStopped() == nil {
		// TLS writes by itself, too, to answer a KeyUpdate (RFC 8446 §4.6.3): a
		// deadline that has passed would break the stream.
		p.until = time.Time{}
		_ = p.Conn.SetWriteDeadline(p.until)
	}
	return err
}

// WriteUrgent writes b at once, its last byte as urgent data.
func (p *Peer[T]) WriteUrgent(b []byte) error {
	p.limitWrite()
	return tcp.WriteUrgent(p.Conn, b)
}

// limitWrite bounds the next write. A deadline costs as much as a small write, so
// one that was set for an earlier write serves while nine tenths are left.
func (p *Peer[T]) limitWrite() {
	now := time.Now()
	if p.until.Sub(now) < p.limit-p.limit/10 {
		p.until = now.Add(p.limit)
		_ = p.Conn.SetWriteDeadline(p.until)
	}
	if p.stop.HardStopped() != nil {
		_ = p.Conn.SetWriteDeadline(now.Add(min(p.limit, lastWrite)))
	}
}

// Close ends the pump and the connection. A reader that is parked wakes up.
func (p *Peer[T]) Close() {
	p.stop.replace(p.Conn, nil)
	close(p.ask)
	if p.Broken { // TLS would try to say goodbye.
		_ = tcp.Underlying(p.Conn).Close()
		return
	}
	_ = p.Conn.Close()
}

// Reset ends the pump and aborts the connection.
func (p *Peer[T]) Reset() {
	p.stop.replace(p.Conn, nil)
	close(p.ask)
	tcp.Reset(p.Conn)
}

// HalfClose sends our FIN; the peer's may still come.
func (p *Peer[T]) HalfClose() {
	p.HalfClosed = true
	if c, ok := p.Conn.(*tls.Conn); ok {
		p.limitWrite()
		_ = c.CloseWrite() // Only close_notify.
	}
	_ = tcp.CloseWrite(p.Conn)
}
