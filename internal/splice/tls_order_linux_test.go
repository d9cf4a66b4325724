package splice

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftproxy/internal/ftptest"
	"ftproxy/internal/tcp"
)

// A downloading client may half-close as soon as it is connected.
func TestTLSDestinationHalfCloses(t *testing.T) {
	everyWay(t, toTLS, func(t *testing.T, w way) {
		for name, halfClose := range map[string]func(*end){
			"close_notify":       func(e *end) { e.Conn.(*tls.Conn).CloseWrite() },
			"close_notify, FIN":  (*end).halfCloseBoth,
			"FIN":                func(e *end) { e.tcp.CloseWrite() },
			"in the middle, FIN": func(e *end) { e.tcp.Write([]byte("\x17\x03\x03")); e.tcp.CloseWrite() },
		} {
			t.Run(name, func(t *testing.T) {
				j := joinTLS(t, w, Options{Stall: never}, 0)
				halfClose(j.taker)
				eventually(t, "the end seen", j.fin.Load)
				payload := random(3 << 20)
				j.sender.send(payload, j.sender.halfClose)
				if got := j.taker.mustEnd(t); !bytes.Equal(got, payload) {
					t.Errorf("%d bytes arrived", len(got))
				}
				j.mustSucceed(len(payload))
				j.Finish(context.Background(), patience)
			})
		}
	})
}

// writeBelow writes what is no record, though crypto/tls lets nothing follow
// close_notify.
func (e *end) writeBelow(n int) {
	e.tcp.SetWriteDeadline(time.Time{})
	e.tcp.Write(make([]byte, n))
}

func (e *end) halfCloseBoth() {
	e.halfClose()
	e.tcp.CloseWrite()
}

// After the source's close_notify come FIN, a close, nothing or what nobody may send.
// Our end reaches its peer in each case, and never as a reset.
func TestTLSSourceEnds(t *testing.T) {
	everyWay(t, fromTLS, func(t *testing.T, w way) {
		for name, end := range map[string]func(*end){
			"close_notify":            (*end).halfClose,
			"close_notify, then FIN":  (*end).halfCloseBoth,
			"close":                   func(e *end) { e.Close() },
			"close_notify, then more": func(e *end) { e.halfClose(); e.writeBelow(30 << 10) },
		} {
			t.Run(name, func(t *testing.T) {
				j := prepareTLS(t, w, Options{StrictEOF: true}, 0)
				payload := random(20 << 10)
				j.sender.send(payload, func() { end(j.sender) })
				if err := <-j.sender.sent; err != nil {
					t.Fatal(err)
				}
				j.run()
				if got := j.taker.mustEnd(t); !bytes.Equal(got, payload) {
					t.Errorf("%d bytes arrived", len(got))
				}
				j.mustSucceed(len(payload))
				if name != "close" {
					if rest := j.sender.mustEnd(t); len(rest) > 0 {
						t.Errorf("%d bytes came back", len(rest))
					}
				}
				j.taker.Close()
				j.Finish(context.Background(), patience)
			})
		}
	})
}

// What the kernel has after close_notify is thrown away: our close would be a reset.
func TestCloseLeavesNothingUnread(t *testing.T) {
	everyWay(t, fromTLS, func(t *testing.T, w way) {
		j := prepareTLS(t, w, Options{}, 0)
		j.sender.halfClose()
		const more = 30 << 10
		j.sender.writeBelow(more)
		eventually(t, "everything has reached the source", func() bool { return j.source.queued(t) > more })
		if n, err := j.source.conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if j.source.queued(t) == 0 {
			t.Fatal("nothing is unread: the test shows nothing")
		}
		j.source.close()
		j.sender.mustEnd(t)
		mustEnd(t, j.sender.tcp)
		j.destination.conn.Close()
	})
}

// A server's tickets come after its handshake, when an upload reads nothing else.
func TestTicketsDuringUpload(t *testing.T) {
	everyWay(t, upToTLS13, func(t *testing.T, w way) {
		j := joinTLS(t, w, Options{Stall: never}, 0)
		eventually(t, "the session is kept", func() bool {
			session, _ := j.cache.Get("127.0.0.1")
			return session != nil
		})
		j.sender.send(nil, j.sender.halfClose)
		j.taker.mustEnd(t)
		j.finish(0)
	})
}

// What a server sends late, as tickets may be, is not left unread: our close would
// be a reset.
func TestLateRecords(t *testing.T) {
	everyWay(t, toTLS, func(t *testing.T, w way) {
		j := joinTLS(t, w, Options{Stall: never}, 0)
		payload := random(100 << 10)
		j.sender.send(payload, j.sender.halfClose)
		if _, err := io.ReadFull(j.taker, make([]byte, len(payload))); err != nil {
			t.Fatal(err)
		}
		j.mustSucceed(len(payload))
		const late = 300 << 10
		if _, err := j.taker.Write(make([]byte, late)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "read", func() bool { return j.Stray() == late })
		finished := make(chan struct{})
		go func() { j.Finish(context.Background(), patience); close(finished) }()
		j.taker.mustEnd(t)
		j.taker.Write(make([]byte, late))
		j.taker.halfCloseBoth()
		<-finished
		if got := j.Stray(); got != 2*late {
			t.Errorf("%d stray bytes", got)
		}
		j.taker.tcp.SetReadDeadline(time.Now().Add(patience))
		if n, err := j.taker.tcp.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Errorf("the destination's peer reads %d bytes, then %v", n, err)
		}
	})
}

// A peer that answers neither with close_notify nor with FIN.
func TestFarewellIsBounded(t *testing.T) {
	everyWay(t, toTLS, func(t *testing.T, w way) {
		j := prepareTLS(t, w, Options{Stall: never}, 0)
		if j.farewell != 2*time.Second {
			t.Errorf("close_notify is waited for %v", j.farewell)
		}
		j.farewell = 30 * time.Millisecond
		j.run()
		j.sender.send([]byte("x"), j.sender.halfClose)
		j.mustSucceed(1)
		start := time.Now()
		j.Finish(context.Background(), time.Hour)
		if d := time.Since(start); d < j.farewell || d > patience {
			t.Errorf("Finish took %v", d)
		}
		j.taker.mustEnd(t)
	})
}

// fill fills what the kernel takes for a peer that does not read.
func fill(t testing.TB, l leg) {
	t.Helper()
	l.tcp.SetWriteBuffer(smallBuffer)
	still := 0 // looks in which nothing was taken
	eventually(t, "no room", func() bool {
		still++
		if err := l.raw.Control(func(fd uintptr) {
			for {
				if _, err := unix.Write(int(fd), make([]byte, 1<<10)); err != nil {
					return
				}
				still = 0
			}
		}); err != nil {
			t.Fatal(err)
		}
		return still == 100
	})
	if l.hasRoom() {
		t.Fatal("there is room")
	}
}

// Neither the source nor the destination may be waited for longer than is due when
// there is no room for close_notify. These wait for more than crypto/tls does, so
// they wait side by side.
func TestNoRoomForCloseNotify(t *testing.T) {
	const more = 5500 * time.Millisecond // than the 5 s of crypto/tls
	w := way{version: tls.VersionTLS13, source: true, destination: true}
	t.Run("source", func(t *testing.T) {
		t.Parallel()
		j := prepareTLS(t, way{version: w.version, source: true}, Options{}, 0)
		j.sender.tcp.SetReadBuffer(smallBuffer)
		fill(t, j.source)
		start := time.Now()
		j.run()
		j.sender.halfClose()
		j.mustSucceed(0)
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("Run took %v", d)
		}
		j.taker.mustEnd(t)
		j.finishTaken()
	})
	t.Run("destination", func(t *testing.T) {
		t.Parallel()
		j := prepareTLS(t, w, Options{}, smallBuffer)
		fill(t, j.destination)
		type shut struct {
			own int
			err error
		}
		done := make(chan shut, 1)
		go func() {
			own, err := j.destination.closeWrite()
			done <- shut{own, err}
		}()
		select {
		case s := <-done:
			t.Fatalf("closeWrite = %+v, though there is no room", s)
		case <-time.After(more):
		}
		go io.Copy(discarding{}, onlyReader{j.taker.tcp})
		if s := <-done; s.err != nil || s.own != 24+1 { // alert: header 5, content 2, type 1, tag 16
			t.Errorf("closeWrite = %+v", s)
		}
		j.destination.conn.Close()
		j.source.conn.Close()
	})
}

func (j *protectedJoint) finishTaken() {
	j.taker.Close()
	j.Finish(context.Background(), patience)
}

// Reset does not wait for a writer, and says no close_notify.
func TestResetBelowTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, writing := range []bool{false, true} {
			j := prepareTLS(t, way{version: version, source: true, destination: true}, Options{}, smallBuffer)
			ours := j.destination.conn
			var writer sync.WaitGroup
			if writing {
				writer.Go(func() { j.destination.write(make([]byte, bufferLarge)) })
				writer.Go(func() { ours.Write(make([]byte, 32<<20)) })
				eventually(t, "the writer is blocked", func() bool { n, _ := tcp.Unacknowledged(j.destination.tcp); return n > smallBuffer })
			}
			start := time.Now()
			tcp.Reset(ours)
			writer.Wait()
			if d := time.Since(start); d > 4*time.Second {
				t.Errorf("Reset took %v", d)
			}
			j.mustBeReset("destination", j.taker)
			tcp.Reset(j.source.conn)
		}
	}
}

func TestTLSStall(t *testing.T) {
	const stall = 3 * time.Second
	w := way{version: tls.VersionTLS13, source: true, destination: true}
	t.Run("source", func(t *testing.T) {
		t.Parallel()
		joinTLS(t, w, Options{Stall: stall}, 0).mustFail(Source, ErrStalled)
	})
	// A record is nothing until it is whole.
	t.Run("slow sender", func(t *testing.T) {
		t.Parallel()
		j := joinTLS(t, w, Options{Stall: stall}, 0)
		tick := time.NewTicker(stall / 16)
		defer tick.Stop()
		start := time.Now()
		for _, b := range append([]byte("\x17\x03\x03\x40\x00"), make([]byte, 24)...) {
			j.sender.tcp.Write([]byte{b})
			<-tick.C
		}
		if time.Since(start) < stall*3/2 {
			t.Error("the sender was not slow")
		}
		select {
		case r := <-j.results:
			t.Fatalf("Run = %+v", r)
		default:
		}
		j.cancel(errCancel)
		j.mustFail(None, errCancel)
	})
	t.Run("destination", func(t *testing.T) {
		t.Parallel()
		j := joinTLS(t, w, Options{Stall: stall}, smallBuffer)
		j.sender.send(make([]byte, 32<<20), nothing)
		j.mustFail(Destination, ErrStalled)
	})
	t.Run("tail", func(t *testing.T) {
		t.Parallel()
		tlsTail(t, w, Options{Stall: stall}, 200<<10).mustFail(Destination, ErrStalled)
	})
	// The receiver takes far less in the time of a stall than one Write has.
	t.Run("slow receiver", func(t *testing.T) {
		t.Parallel()
		j := prepareTLS(t, w, Options{Stall: stall}, smallBuffer)
		j.destination.tcp.SetWriteBuffer(1 << 20)
		payload := random(28 << 10)
		j.sender.send(payload, j.sender.halfClose)
		j.run()
		tick := time.NewTicker(stall / 16)
		defer tick.Stop()
		start, raw := time.Now(), 0
		for raw < len(payload) {
			n, err := j.taker.tcp.Read(make([]byte, 1<<10))
			if err != nil {
				t.Fatalf("after %d bytes: %v", raw, err)
			}
			raw += n
			<-tick.C
		}
		if time.Since(start) < stall*3/2 {
			t.Error("the receiver was not slow")
		}
		go io.Copy(discarding{}, onlyReader{j.taker.tcp})
		j.mustSucceed(len(payload))
		j.finishTaken()
	})
}

// The kernel keeps the rate of TLS, too, and the progress is seen as it goes.
func TestTLSRate(t *testing.T) {
	j := prepareTLS(t, way{version: tls.VersionTLS13, destination: true}, Options{Stall: never}, 0)
	if err := j.SetRate(400 << 10); err != nil {
		t.Fatal(err)
	}
	if rate, _ := pacing(t, j.destination.tcp); rate != 400<<10 {
		t.Errorf("the kernel has %d", rate)
	}
	if got := j.piece(); got != 50<<10 {
		t.Errorf("one Write has %d bytes", got)
	}
	j.run()
	payload := random(burst + 200<<10)
	j.sender.send(payload, j.sender.halfClose)
	if got := j.taker.mustEnd(t); !bytes.Equal(got, payload) {
		t.Errorf("%d bytes arrived", len(got))
	}
	j.finish(len(payload))
}

// All that a TLS source sends is here as soon as its FIN is.
func TestTLSEnded(t *testing.T) {
	j := joinTLS(t, way{version: tls.VersionTLS13, source: true, destination: true}, Options{}, smallBuffer)
	j.destination.tcp.SetWriteBuffer(smallBuffer)
	j.source.tcp.SetReadBuffer(1 << 20)
	j.sender.send(random(400<<10), j.sender.halfCloseBoth)
	if err := <-j.sender.sent; err != nil {
		t.Fatal(err)
	}
	j.mustBlock()
	eventually(t, "ended", j.Ended)
	if j.ended.Load() {
		t.Error("the copy has read the EOF: the test shows nothing")
	}
	j.cancel(errCancel)
	<-j.results
}

// TLS on a conn that is not TCP is copied, and its end is told as truly.
func TestTLSOnPipe(t *testing.T) {
	certificate := ftptest.Certificate(t, "127.0.0.1")
	for _, strict := range []bool{false, true} {
		source, sender := net.Pipe()
		destination, taker := net.Pipe()
		server := tls.Server(Batch(source), &tls.Config{Certificates: []tls.Certificate{certificate.Certificate}, SessionTicketsDisabled: true})
		client := tls.Client(sender, &tls.Config{RootCAs: certificate.Pool, ServerName: "127.0.0.1"})
		go client.Handshake()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		c := New(destination, server, Options{StrictEOF: strict})
		results := make(chan Result, 1)
		go func() { results <- c.Run(context.Background()) }()
		go func() { client.Write([]byte("hello")); sender.Close() }()
		if got, err := io.ReadAll(taker); string(got) != "hello" || err != nil {
			t.Errorf("%q arrived, then %v", got, err)
		}
		if r := <-results; errors.Is(r.Err, ErrTruncated) != strict || !c.Truncated() {
			t.Errorf("Run = %+v, truncated %v", r, c.Truncated())
		}
		c.Finish(context.Background(), 0)
	}
}
