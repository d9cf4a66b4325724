package proxy

import (
	"context"
	"net"
	"sync"
	"time"
)

// A peer is one control connection of a session and the pump that reads it.
// The session loop owns everything here; the pump only reads.
type peer[T any] struct {
	conn net.Conn
	ask  chan struct{}
	in   chan got[T]
	// asked: the pump reads, or its message waits in in.
	asked bool
	// ended: the pump met the end of the stream.
	ended bool
	out   []byte          // written at the next flush
	limit time.Duration   // for one write
	cut   context.Context // ends when the process is cut: then cutWrite is the limit
	uncut func() bool
}

// cutWrite is how long the last words of a session that is cut may take.
const cutWrite = time.Second

// got is one message from a peer, or the error that ended its stream.
type got[T any] struct {
	msg T
	err error
}

// newPeer takes over conn and starts its pump, which tells done when it ends.
func newPeer[T any](conn net.Conn, read func() (T, error), limit time.Duration, cut context.Context, done *sync.WaitGroup) *peer[T] {
	p := &peer[T]{conn: conn, ask: make(chan struct{}, 1), in: make(chan got[T], 1), limit: limit, cut: cut}
	p.uncut = context.AfterFunc(cut, p.interrupt) // The loop may be writing.
	done.Add(1)
	go pump(p.ask, read, p.in, done)
	return p
}

// pump reads one message for each ask, so nobody reads while the session
// upgrades the connection to TLS, and a message that aliases the reader's
// buffer stays whole until the next ask. out holds one message: pump never
// waits on it.
func pump[T any](ask <-chan struct{}, read func() (T, error), out chan<- got[T], done *sync.WaitGroup) {
	defer done.Done()
	for range ask {
		msg, err := read()
		out <- got[T]{msg, err}
		if err != nil {
			return
		}
	}
}

// request asks the pump for the next message, if it is not reading already.
func (p *peer[T]) request() {
	if !p.asked && !p.ended {
		p.asked = true
		p.ask <- struct{}{}
	}
}

// received notes what came out of in.
func (p *peer[T]) received(g got[T]) {
	p.asked = false
	p.ended = g.err != nil
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

// limitWrite bounds the next write; the bound of an earlier one may have passed.
func (p *peer[T]) limitWrite() {
	_ = p.conn.SetWriteDeadline(time.Now().Add(p.limit))
	if p.cut.Err() != nil {
		_ = p.conn.SetWriteDeadline(time.Now().Add(min(p.limit, cutWrite)))
	}
}

// interrupt fails a write that is blocked. Unlike all else here it may be called
// from any goroutine.
func (p *peer[T]) interrupt() { _ = p.conn.SetWriteDeadline(time.Unix(1, 0)) }

// close ends the pump and the connection. A reader that is parked wakes up.
func (p *peer[T]) close() {
	p.uncut()
	close(p.ask)
	_ = p.conn.Close()
}

// halfClose sends our FIN; the peer's may still come.
func (p *peer[T]) halfClose() {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}
