package proxy

import (
	"net"
	"sync"
	"time"
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
	// ended: the pump met the end of the stream.
	ended bool
	out   []byte        // written at the next flush
	limit time.Duration // for one write, until the process is cut
	until time.Time     // the write deadline that is set
	cuts  *cuts
}

// cutWrite is how long the last words of a session that is cut may take.
const cutWrite = time.Second

// A reader cuts a stream into messages (internal/ftp).
type reader[T any] interface {
	// Next returns a message that is there already. Its error stays.
	Next() (msg T, ok bool, err error)
	// Fill waits for more of the stream.
	Fill() error
}

// got is one message from a peer, or the error that ended its stream.
type got[T any] struct {
	msg T
	err error
}

// newPeer takes over conn and starts its pump, which tells done when it ends.
func newPeer[T any](conn net.Conn, r reader[T], limit time.Duration, cuts *cuts, done *sync.WaitGroup) *peer[T] {
	p := &peer[T]{conn: conn, reader: r, ask: make(chan struct{}, 1), in: make(chan error, 1), limit: limit, cuts: cuts}
	cuts.add(conn)
	done.Add(1)
	go pump(p.ask, r.Fill, p.in, done)
	return p
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
		if g, ok = p.buffered(); !ok {
			p.ask <- struct{}{}
			return g, false
		}
	}
	p.asked = false
	p.ended = g.err != nil
	return g, true
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
	p.limitWrite()
	_, err := p.conn.Write(b)
	return err
}

// writeUrgent writes b at once, its last byte as urgent data.
func (p *peer[T]) writeUrgent(b []byte) error {
	p.limitWrite()
	return writeUrgent(p.conn, b)
}

// limitWrite bounds the next write. A deadline costs as much as a small write, so
// one that was set for an earlier write serves while nine tenths are left.
func (p *peer[T]) limitWrite() {
	now := time.Now()
	if p.until.Sub(now) < p.limit-p.limit/10 {
		p.until = now.Add(p.limit)
		_ = p.conn.SetWriteDeadline(p.until)
	}
	if p.cuts.made() {
		_ = p.conn.SetWriteDeadline(now.Add(min(p.limit, cutWrite)))
	}
}

// close ends the pump and the connection. A reader that is parked wakes up.
func (p *peer[T]) close() {
	p.cuts.remove(p.conn)
	close(p.ask)
	_ = p.conn.Close()
}

// halfClose sends our FIN; the peer's may still come.
func (p *peer[T]) halfClose() {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}
