package splice

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"ftproxy/internal/ftptest"
)

// A way is how the two conns of a copy are protected. In an upload the source's
// peer is the client and so is the copy toward the destination; in a download the
// copy is the server of the destination's peer.
type way struct {
	version             uint16
	source, destination bool // is TLS
	upload              bool
}

func (w way) String() string {
	name := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[w.version]
	protocol := map[bool]string{false: "TCP", true: "TLS"}
	return fmt.Sprintf("%s %s-%s %s", name, protocol[w.source], protocol[w.destination], map[bool]string{false: "download", true: "upload"}[w.upload])
}

// everyWay runs f for all versions, combinations and directions for which
// matters is true.
func everyWay(t *testing.T, matters func(way) bool, f func(t *testing.T, w way)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, secure := range [][2]bool{{true, false}, {false, true}, {true, true}} {
			for _, upload := range []bool{false, true} {
				if w := (way{version, secure[0], secure[1], upload}); matters(w) {
					t.Run(w.String(), func(t *testing.T) { f(t, w) })
				}
			}
		}
	}
}

func always(way) bool      { return true }
func toTLS(w way) bool     { return w.destination }
func fromTLS(w way) bool   { return w.source }
func upToTLS13(w way) bool { return w.destination && w.upload && w.version == tls.VersionTLS13 }

// client reports whether the copy is the TLS client of that conn.
func (w way) client(of Side) bool { return w.upload == (of == Destination) }

// An end is the peer of one conn of a copy.
type end struct {
	net.Conn
	tcp *net.TCPConn
	eof func() bool // the end was a FIN without close_notify

	sent chan error // the outcome of send
}

// A protectedJoint is a copy with its two peers, any of them over TLS.
type protectedJoint struct {
	*Copy
	t             testing.TB
	sender, taker *end
	cache         tls.ClientSessionCache // of the copy, where it is a client
	results       chan Result
	cancel        context.CancelCauseFunc
}

// protect makes TLS on a pair of connections, if it is to be.
func (j *protectedJoint) protect(w way, secure, client bool, ours, peer *net.TCPConn) (net.Conn, *end) {
	j.t.Helper()
	if !secure {
		return ours, &end{Conn: peer, tcp: peer, eof: func() bool { return false }}
	}
	certificate := ftptest.Certificate(j.t, "127.0.0.1")
	server := &tls.Config{
		Certificates: []tls.Certificate{certificate.Certificate}, MinVersion: w.version, MaxVersion: w.version,
		DynamicRecordSizingDisabled: true,
		SessionTicketsDisabled:      !client, // of the copy's own server: see TestUploadNeverReads
	}
	clients := &tls.Config{
		RootCAs: certificate.Pool, ServerName: "127.0.0.1", MinVersion: w.version, MaxVersion: w.version,
		DynamicRecordSizingDisabled: true,
		ClientSessionCache:          j.cache,
	}
	below := Batch(peer).(*batch)
	a, b := tls.Server(Batch(ours), server), tls.Client(below, clients)
	if client {
		a, b = tls.Client(Batch(ours), clients), tls.Server(below, server)
	}
	shaken := make(chan error, 1)
	go func() { shaken <- b.Handshake() }()
	if err := errors.Join(a.Handshake(), <-shaken); err != nil {
		j.t.Fatal(err)
	}
	return a, &end{Conn: b, tcp: peer, eof: func() bool { return below.eof }}
}

// prepareTLS makes a copy that does not run yet. receive is the size of the
// taker's receive buffer.
func prepareTLS(t testing.TB, w way, o Options, receive int) *protectedJoint {
	t.Helper()
	j := &protectedJoint{t: t, cache: tls.NewLRUClientSessionCache(8), results: make(chan Result, 1)}
	ours, peer := tcpPair(t, receive)
	destination, taker := j.protect(w, w.destination, w.client(Destination), ours, peer)
	ours, peer = tcpPair(t, 0)
	source, sender := j.protect(w, w.source, w.client(Source), ours, peer)
	j.Copy, j.sender, j.taker = New(destination, source, o), sender, taker
	return j
}

func joinTLS(t testing.TB, w way, o Options, receive int) *protectedJoint {
	t.Helper()
	j := prepareTLS(t, w, o, receive)
	j.run()
	return j
}

func (j *protectedJoint) run() {
	ctx, cancel := context.WithCancelCause(context.Background())
	j.cancel = cancel
	j.t.Cleanup(func() { cancel(nil) })
	go func() { j.results <- j.Run(ctx) }()
}

func (j *protectedJoint) result() Result {
	j.t.Helper()
	select {
	case r := <-j.results:
		return r
	case <-time.After(patience):
		j.t.Fatal("Run does not return")
		panic("unreachable")
	}
}

func (j *protectedJoint) mustSucceed(n int) {
	j.t.Helper()
	if r := j.result(); r.Err != nil || r.Failed != None || r.Bytes != int64(n) {
		j.t.Fatalf("Run = %+v; want success with %d bytes", r, n)
	}
	if got := j.Acked(); got != int64(n) {
		j.t.Errorf("Acked = %d, want %d", got, n)
	}
}

// mustFail checks the result, and that both peers see neither EOF nor
// close_notify. error nil is any error.
func (j *protectedJoint) mustFail(side Side, err error) Result {
	j.t.Helper()
	r := j.result()
	if r.Err == nil || r.Failed != side || err != nil && !errors.Is(r.Err, err) {
		j.t.Fatalf("Run = %+v; want %v failed with %v", r, side, err)
	}
	j.mustBeReset("source", j.sender)
	j.mustBeReset("destination", j.taker)
	j.Finish(context.Background(), patience) // does nothing
	return r
}

// mustBeReset looks at what the peer's last write was told, and then below TLS,
// where an alert or close_notify of ours would be an end. A peer that the test
// closed itself is passed over.
func (j *protectedJoint) mustBeReset(name string, e *end) {
	j.t.Helper()
	if e.sent != nil && resetOrClosed(<-e.sent) {
		return
	}
	if err := e.tcp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return // closed
	}
	n, err := io.Copy(io.Discard, onlyReader{e.Conn})
	if err == nil && e.Conn != e.tcp && !e.eof() {
		j.t.Errorf("the peer of the %s reads close_notify", name)
	}
	if !resetOrClosed(err) {
		_, err = io.Copy(io.Discard, onlyReader{e.tcp})
	}
	if !resetOrClosed(err) {
		j.t.Errorf("the peer of the %s reads %d bytes, then %v; want a reset", name, n, err)
	}
}

func resetOrClosed(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// mustEnd reads until the end, which over TLS has to be close_notify.
func (e *end) mustEnd(t testing.TB) []byte {
	t.Helper()
	e.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(e)
	if err != nil || e.eof() {
		t.Fatalf("read %d bytes, then %v, without close_notify %v", len(b), err, e.eof())
	}
	return b
}

// send writes b and does what comes then, on a goroutine of its own.
func (e *end) send(b []byte, then func()) {
	e.sent = make(chan error, 1)
	go func() {
		_, err := e.Write(b)
		if err == nil {
			then()
		}
		e.sent <- err
	}()
}

func (e *end) halfClose() { closeWrite(e.Conn) }

func nothing() {}

// finish ends a copy whose payload was read.
func (j *protectedJoint) finish(n int) {
	j.t.Helper()
	j.mustSucceed(n)
	j.taker.Close()
	j.Finish(context.Background(), patience)
}

func (j *protectedJoint) mustBlock() {
	j.t.Helper()
	eventually(j.t, "blocked", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.blocked
	})
}

func (j *protectedJoint) watches() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.parked
}

func TestTLSTransfer(t *testing.T) {
	everyWay(t, always, func(t *testing.T, w way) {
		for _, size := range []int{0, 1, bufferLarge + 1, 5<<20 + 7} {
			j := joinTLS(t, w, Options{Stall: never, StrictEOF: true}, 0)
			payload := random(size)
			j.sender.send(payload, j.sender.halfClose)
			if got := j.taker.mustEnd(t); !bytes.Equal(got, payload) {
				t.Errorf("%d bytes arrived that are not the %d bytes sent", len(got), size)
			}
			j.mustSucceed(size)
			if rest := j.sender.mustEnd(t); len(rest) > 0 {
				t.Errorf("the source's peer received %d bytes", len(rest))
			}
			if j.Truncated() || j.Spliced() != 0 || j.Stray() != 0 {
				t.Errorf("truncated %v, %d spliced, %d stray", j.Truncated(), j.Spliced(), j.Stray())
			}
			j.taker.Close()
			j.Finish(context.Background(), patience)
		}
	})
}

// A TLS 1.3 client that never reads closes with a reset, if anything is unread: we
// send it no tickets.
func TestUploadNeverReads(t *testing.T) {
	everyWay(t, func(w way) bool { return fromTLS(w) && w.upload }, func(t *testing.T, w way) {
		j := joinTLS(t, w, Options{Stall: never, StrictEOF: true}, 0)
		payload := random(3 << 20)
		j.sender.send(payload, func() { j.sender.Close() })
		if got := j.taker.mustEnd(t); !bytes.Equal(got, payload) {
			t.Errorf("%d bytes arrived", len(got))
		}
		j.finish(len(payload))
	})
}

func TestTLSSourceResets(t *testing.T) {
	everyWay(t, always, func(t *testing.T, w way) {
		t.Run("before the first byte", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, 0)
			reset(t, j.sender.tcp)
			j.mustFail(Source, ErrReset)
		})
		t.Run("in the middle", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, 0)
			j.sender.send(random(300<<10), nothing)
			if _, err := io.ReadFull(j.taker, make([]byte, 300<<10)); err != nil {
				t.Fatal(err)
			}
			reset(t, j.sender.tcp)
			j.mustFail(Source, ErrReset)
			if got := j.Bytes(); got != 300<<10 {
				t.Errorf("Bytes = %d", got)
			}
		})
		t.Run("while the destination takes nothing", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, smallBuffer)
			j.sender.send(make([]byte, 32<<20), nothing)
			j.mustBlock()
			eventually(t, "the source is watched", j.watches)
			reset(t, j.sender.tcp)
			j.mustFail(Source, ErrReset)
		})
	})
}

// After the source was watched, TLS can write on it again: close_notify is not
// held up.
func TestTLSSourceIsFreeAgain(t *testing.T) {
	everyWay(t, fromTLS, func(t *testing.T, w way) {
		j := joinTLS(t, w, Options{Stall: never}, smallBuffer)
		payload := random(8 << 20)
		j.sender.send(payload, nothing)
		j.mustBlock()
		eventually(t, "the source is watched", j.watches)
		if _, err := io.ReadFull(j.taker, make([]byte, len(payload))); err != nil {
			t.Fatal(err)
		}
		if err := <-j.sender.sent; err != nil {
			t.Fatal(err)
		}
		eventually(t, "all is written", func() bool { return j.Bytes() == int64(len(payload)) })
		eventually(t, "the watch has ended", func() bool { return !j.watches() })
		start := time.Now()
		j.sender.Conn.(*tls.Conn).CloseWrite()
		j.sender.mustEnd(t)
		if d := time.Since(start); d >= 5*time.Second {
			t.Errorf("close_notify came after %v, crypto/tls's patience", d)
		}
		j.taker.mustEnd(t)
		j.finish(len(payload))
	})
}

func TestTLSDestinationResets(t *testing.T) {
	everyWay(t, always, func(t *testing.T, w way) {
		t.Run("while the source is silent", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, 0)
			reset(t, j.taker.tcp)
			j.mustFail(Destination, ErrReset)
		})
		t.Run("after close_notify, while the source is silent", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, 0)
			j.taker.halfClose()
			if w.destination {
				eventually(t, "close_notify seen", j.fin.Load)
			}
			reset(t, j.taker.tcp)
			j.mustFail(Destination, ErrReset)
		})
		t.Run("after FIN, while the source is silent", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, 0)
			j.taker.tcp.CloseWrite()
			eventually(t, "FIN seen", j.fin.Load)
			reset(t, j.taker.tcp)
			j.mustFail(Destination, ErrReset)
		})
		t.Run("in the middle", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, 0)
			j.sender.send(make([]byte, 64<<20), nothing)
			if _, err := io.ReadFull(j.taker, make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
			reset(t, j.taker.tcp)
			j.mustFail(Destination, ErrReset)
		})
		t.Run("while it takes nothing", func(t *testing.T) {
			j := joinTLS(t, w, Options{}, smallBuffer)
			j.sender.send(make([]byte, 32<<20), nothing)
			j.mustBlock()
			reset(t, j.taker.tcp)
			j.mustFail(Destination, ErrReset)
		})
	})
}

// tlsTail brings a copy to where the source is done and closed, and the
// destination's peer, which does not read, has acknowledged a part only.
func tlsTail(t testing.TB, w way, o Options, n int) *protectedJoint {
	t.Helper()
	j := prepareTLS(t, w, o, smallBuffer)
	j.destination.tcp.SetWriteBuffer(4 * n)
	j.sender.tcp.SetWriteBuffer(4 * n)
	j.sender.send(random(n), j.sender.halfClose)
	j.run()
	j.sender.mustEnd(t)
	j.sender.Close()
	if got := j.Bytes(); got != int64(n) {
		t.Fatalf("Bytes = %d", got)
	}
	return j
}

func TestTLSTail(t *testing.T) {
	const n = 200 << 10
	everyWay(t, toTLS, func(t *testing.T, w way) {
		t.Run("reset", func(t *testing.T) {
			j := tlsTail(t, w, Options{}, n)
			reset(t, j.taker.tcp)
			j.mustFail(Destination, ErrReset)
		})
		t.Run("closed with bytes unread", func(t *testing.T) {
			j := tlsTail(t, w, Options{}, n)
			j.taker.Close()
			j.mustFail(Destination, ErrReset)
		})
		t.Run("read at last", func(t *testing.T) {
			j := tlsTail(t, w, Options{}, n)
			select {
			case r := <-j.results:
				t.Fatalf("Run = %+v", r)
			case <-time.After(3 * ackPollMax):
			}
			if got := len(j.taker.mustEnd(t)); got != n {
				t.Errorf("%d bytes arrived", got)
			}
			j.finish(n)
		})
		t.Run("cancelled", func(t *testing.T) {
			j := tlsTail(t, w, Options{}, n)
			j.cancel(errCancel)
			j.mustFail(None, errCancel)
		})
	})
}

// The destination's peer has every payload byte and goes away by reset before our
// close_notify reaches it: no abort.
func TestTLSResetAfterAcknowledgement(t *testing.T) {
	everyWay(t, toTLS, func(t *testing.T, w way) {
		j := joinTLS(t, w, Options{Stall: never}, 0)
		payload := random(100 << 10)
		j.sender.send(payload, nothing)
		if _, err := io.ReadFull(j.taker, make([]byte, len(payload))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "acknowledged", func() bool { return j.Acked() == int64(len(payload)) })
		j.sender.halfClose()
		j.taker.mustEnd(t)
		reset(t, j.taker.tcp)
		j.mustSucceed(len(payload))
		j.Finish(context.Background(), patience)
	})
}

func TestTruncated(t *testing.T) {
	everyWay(t, fromTLS, func(t *testing.T, w way) {
		payload := random(300 << 10)
		send := func(t *testing.T, o Options) *protectedJoint {
			j := joinTLS(t, w, o, 0)
			j.sender.send(payload, func() { j.sender.tcp.CloseWrite() })
			return j
		}
		t.Run("lenient", func(t *testing.T) {
			j := send(t, Options{})
			if got := j.taker.mustEnd(t); !bytes.Equal(got, payload) {
				t.Errorf("%d bytes arrived", len(got))
			}
			j.finish(len(payload))
			if !j.Truncated() {
				t.Error("not noticed")
			}
		})
		t.Run("strict", func(t *testing.T) {
			j := send(t, Options{StrictEOF: true})
			j.mustFail(Source, ErrTruncated)
			if !j.Truncated() {
				t.Error("not noticed")
			}
		})
		for name, part := range map[string]string{"header": "\x17\x03", "record": "\x17\x03\x03\x40\x00half"} {
			t.Run("in the middle of a "+name, func(t *testing.T) {
				j := joinTLS(t, w, Options{}, 0)
				j.sender.tcp.Write([]byte(part))
				j.sender.tcp.CloseWrite()
				j.mustFail(Source, ErrTruncated)
			})
		}
	})
}

// forged is a record that nobody can decrypt.
var forged = append([]byte("\x17\x03\x03\x00\x40"), make([]byte, 64)...)

func TestBadRecord(t *testing.T) {
	everyWay(t, fromTLS, func(t *testing.T, w way) {
		j := joinTLS(t, w, Options{}, 0)
		j.sender.send(random(50<<10), func() { j.sender.tcp.Write(forged) })
		j.mustFail(Source, nil)
	})
	everyWay(t, toTLS, func(t *testing.T, w way) {
		j := joinTLS(t, w, Options{}, 0)
		j.taker.tcp.Write(forged)
		j.mustFail(Destination, nil)
	})
}

func TestFatalAlert(t *testing.T) {
	everyWay(t, fromTLS, func(t *testing.T, w way) {
		j := prepareTLS(t, w, Options{}, 0)
		j.source.tcp.Write(forged)
		j.sender.Read(make([]byte, 1)) // sends its alert
		j.run()
		j.mustFail(Source, nil)
	})
	everyWay(t, toTLS, func(t *testing.T, w way) {
		j := prepareTLS(t, w, Options{}, 0)
		j.destination.tcp.Write(forged)
		j.taker.Read(make([]byte, 1))
		j.run()
		j.mustFail(Destination, nil)
	})
	// The destination has acknowledged what it cannot read.
	everyWay(t, toTLS, func(t *testing.T, w way) {
		const n = 200 << 10
		j := prepareTLS(t, w, Options{}, smallBuffer)
		j.destination.tcp.SetWriteBuffer(4 * n)
		j.destination.tcp.Write(forged)
		j.sender.send(random(n), j.sender.halfClose)
		j.run()
		j.sender.mustEnd(t)
		j.taker.Read(make([]byte, 1))
		r := j.result()
		if r.Failed != Destination || r.Err == nil || errors.Is(r.Err, ErrReset) {
			t.Errorf("Run = %+v", r)
		}
	})
}
