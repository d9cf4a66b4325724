package ftptest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A peer is an end of a connection that a dialogue speaks for. One goroutine
// reads all that comes and one sends what is to be sent.
type peer struct {
	name   name
	conn   *Conn
	events *transcript
	sends  chan func() // run in order

	mu       sync.Mutex
	resumed  chan struct{} // not nil while paused; closed by resume
	received []byte        // from the beginning
	expected int           // how many of them steps have expected
	end      error         // io.EOF, or why no more can be read; nil while open
	endKnown bool          // a step has expected the end
	urgent   int           // how many urgent writes steps have expected
}

// newPeer takes over conn and starts the peer's goroutines; wg knows when they
// have ended.
func newPeer(n name, conn *Conn, events *transcript, wg *sync.WaitGroup) *peer {
	p := &peer{name: n, conn: conn, events: events, sends: make(chan func(), 1024)}
	wg.Go(p.read)
	wg.Go(p.send)
	return p
}

// read collects what comes until the end.
func (p *peer) read() {
	buf := make([]byte, 32<<10)
	for {
		p.mu.Lock()
		resumed := p.resumed
		p.mu.Unlock()
		if resumed != nil {
			<-resumed
			continue
		}
		n, err := p.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue // stopReading woke us.
		}
		p.mu.Lock()
		p.received = append(p.received, buf[:n]...)
		p.end = err
		p.mu.Unlock()
		if n > 0 {
			p.events.add(p.name, "< %s", quote(buf[:n]))
		}
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				p.events.add(p.name, "%s", endName(err))
			}
			return
		}
	}
}

// send does what is queued until close.
func (p *peer) send() {
	for f := range p.sends {
		f()
	}
}

func (p *peer) write(b []byte) {
	p.sends <- func() {
		p.events.add(p.name, "> %s", quote(b))
		if n, err := p.conn.Write(b); err != nil {
			p.events.add(p.name, "has sent %d bytes of that: %v", n, err)
		}
	}
}

func (p *peer) halfClose() {
	p.sends <- func() {
		p.events.add(p.name, "half-close")
		p.conn.CloseWrite()
	}
}

func (p *peer) close() {
	p.sends <- func() {
		p.events.add(p.name, "close")
		p.conn.Close()
	}
}

func (p *peer) reset() {
	p.events.add(p.name, "reset")
	p.conn.SetLinger(0)
	p.conn.Close()
}

// stopReading leaves what comes in the connection's buffer.
func (p *peer) stopReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resumed == nil {
		p.resumed = make(chan struct{})
		p.conn.SetReadDeadline(time.Unix(1, 0)) // ends a Read under way
	}
}

func (p *peer) startReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resumed != nil {
		p.conn.SetReadDeadline(time.Time{})
		close(p.resumed)
		p.resumed = nil
	}
}

// stop closes the connection and ends the goroutines. Nothing may be sent
// afterwards.
func (p *peer) stop() {
	p.startReading()
	p.conn.Close()
	close(p.sends)
}

// unexpected returns what was received and not expected by a step so far.
func (p *peer) unexpected() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received[p.expected:]
}

// expect marks the next n received bytes as expected. It returns where they
// stood, counted from the connection's beginning.
func (p *peer) expect(n int) (from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected += n
	return int64(p.expected - n), int64(p.expected)
}

// ended returns how the connection ended, nil when it has not, and whether a
// step has expected that.
func (p *peer) ended() (err error, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end, p.endKnown
}

func (p *peer) expectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endKnown = true
}

// history returns all that was received.
func (p *peer) history() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received
}

// takeUrgent returns the urgent writes received since the last call.
func (p *peer) takeUrgent() [][]byte {
	all := p.conn.Urgent()
	p.mu.Lock()
	defer p.mu.Unlock()
	news := all[p.urgent:]
	p.urgent = len(all)
	return news
}

// endName says how a connection ended.
func endName(err error) string {
	switch {
	case err == nil:
		return "open"
	case errors.Is(err, io.EOF):
		return "eof"
	case errors.Is(err, net.ErrClosed):
		return "closed by the dialogue itself"
	default:
		return "gone: " + err.Error()
	}
}
