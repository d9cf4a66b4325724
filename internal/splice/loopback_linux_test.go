package splice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(childSource); address != "" {
		os.Exit(child(address, os.Getenv(childDestination)))
	}
	if order := os.Getenv(peersProcess); order != "" {
		if err := peers(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if code == 0 {
		if err := leaked(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// leaked returns an error if goroutines stay. goleak's own patience is less than
// half a second.
func leaked() (err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = goleak.Find(); err == nil {
			break
		}
	}
	return err
}

const (
	// patience bounds every wait of a test. It is there to end one that hangs:
	// the machine may stand still for seconds.
	patience = time.Minute
	// never is a stall that is longer than any wait.
	never = 10 * patience
)

// smallBuffer makes a peer's receive window close after some 2 KiB.
const smallBuffer = 4 << 10

// tcpPair returns the two ends of a loopback connection, closed with the test.
// receive is the size of the peer's receive buffer, 0 for the system's choice.
func tcpPair(t testing.TB, receive int) (ours, peer *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) {
			if receive > 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receive)
			}
		})
		return errors.Join(err, cerr)
	}}
	dialled, err := d.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return accepted.(*net.TCPConn), dialled.(*net.TCPConn)
}

// A joint is a running copy with the two peers it joins.
type joint struct {
	*Copy
	t       testing.TB
	sender  *net.TCPConn // the source's peer
	taker   *net.TCPConn // the destination's peer
	cancel  context.CancelCauseFunc
	results chan Result
	sent    chan error // the outcome of send
}

func join(t testing.TB, o Options, receive int) *joint {
	t.Helper()
	j := prepare(t, o, receive)
	j.run()
	return j
}

func prepare(t testing.TB, o Options, receive int) *joint {
	t.Helper()
	destination, taker := tcpPair(t, receive)
	source, sender := tcpPair(t, 0)
	return &joint{
		Copy: New(destination, source, o), t: t,
		sender: sender, taker: taker, results: make(chan Result, 1),
	}
}

func (j *joint) run() {
	ctx, cancel := context.WithCancelCause(context.Background())
	j.cancel = cancel
	j.t.Cleanup(func() { cancel(nil) })
	go func() { j.results <- j.Run(ctx) }()
}

// result waits for Run.
func (j *joint) result() Result {
	j.t.Helper()
	select {
	case r := <-j.results:
		return r
	case <-time.After(patience):
		j.t.Fatal("Run does not return")
		panic("unreachable")
	}
}

// running fails the test if Run has returned, or does so in the time given.
func (j *joint) running(d time.Duration) {
	j.t.Helper()
	select {
	case r := <-j.results:
		j.t.Fatalf("Run returned %+v, should go on", r)
	case <-time.After(d):
	}
}

// mustSucceed checks the result and finishes the copy.
func (j *joint) mustSucceed(n int) {
	j.t.Helper()
	r := j.result()
	if r.Err != nil || r.Failed != None || r.Bytes != int64(n) {
		j.t.Fatalf("Run = %+v; want success with %d bytes", r, n)
	}
	if got := j.Spliced(); got*100 < int64(n)*99 {
		j.t.Errorf("%d of %d bytes were spliced", got, n)
	}
}

// mustFail checks the result, and that both peers see a reset and no EOF.
func (j *joint) mustFail(side Side, err error) {
	j.t.Helper()
	r := j.result()
	if r.Failed != side || !errors.Is(r.Err, err) {
		j.t.Fatalf("Run = %+v; want %v failed with %v", r, side, err)
	}
	var sent error
	if j.sent != nil {
		sent = <-j.sent
	}
	if !errors.Is(sent, syscall.ECONNRESET) { // otherwise the reset was told to that write
		j.mustBeReset("source", j.sender)
	}
	j.mustBeReset("destination", j.taker)
	j.Finish(context.Background(), patience) // does nothing
}

// mustBeReset reads until the end of c, which must not be an orderly one. A
// peer that the test closed itself is passed over.
func (j *joint) mustBeReset(name string, c *net.TCPConn) {
	j.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, onlyReader{c})
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, net.ErrClosed) {
		j.t.Errorf("the peer of the %s sees %v, want a reset", name, err)
	}
}

type onlyReader struct{ io.Reader }

// mustEnd reads until c's EOF and returns what came.
func mustEnd(t testing.TB, c *net.TCPConn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("read %d bytes, then %v; want an EOF", len(b), err)
	}
	return b
}

// send makes the source's peer write b in a goroutine that ends with the conn.
func (j *joint) send(b []byte) {
	j.sent = make(chan error, 1)
	go writeAll(j.sender, b, j.sent)
}

func writeAll(c *net.TCPConn, b []byte, sent chan<- error) {
	_, err := c.Write(b)
	sent <- err
}

// sendAll makes the source's peer write b and then its FIN.
func (j *joint) sendAll(b []byte) {
	j.t.Helper()
	if _, err := j.sender.Write(b); err != nil {
		j.t.Fatal(err)
	}
	j.sender.CloseWrite()
}

func reset(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// eventually waits for a condition that nothing signals.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// transfer moves payload through j and finishes it in good order.
func (j *joint) transfer(payload []byte) {
	j.t.Helper()
	go func() {
		j.sender.Write(payload)
		j.sender.CloseWrite()
	}()
	if got := mustEnd(j.t, j.taker); !bytes.Equal(got, payload) {
		j.t.Errorf("%d bytes arrived that are not the %d bytes sent", len(got), len(payload))
	}
	j.mustSucceed(len(payload))
	if rest := mustEnd(j.t, j.sender); len(rest) > 0 {
		j.t.Errorf("the source's peer received %q", rest)
	}
	j.taker.Close()
	j.Finish(context.Background(), patience)
}

func TestTransfer(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 10, 64<<10 + 1, 1 << 20, 20<<20 + 7} {
		join(t, Options{Stall: never}, 0).transfer(random(size))
	}
}

func TestBytesIsLive(t *testing.T) {
	j := join(t, Options{}, 0)
	for i, b := 0, make([]byte, 1000); i < 3; i++ {
		j.sender.Write(b)
		if _, err := io.ReadFull(j.taker, b); err != nil {
			t.Fatal(err)
		}
		want := int64(i+1) * 1000
		eventually(t, "bytes counted", func() bool { return j.Bytes() == want })
	}
	j.sender.Close()
	mustEnd(t, j.taker)
	j.mustSucceed(3000)
	j.taker.Close()
	j.Finish(context.Background(), patience)
}

// The destination's peer reads everything and goes away by reset, after our
// FIN: no abort.
func TestResetAfterAcknowledgement(t *testing.T) {
	j := join(t, Options{Stall: never}, 0)
	payload := random(100 << 10)
	j.send(payload)
	if _, err := io.ReadFull(j.taker, make([]byte, len(payload))); err != nil {
		t.Fatal(err)
	}
	j.sender.CloseWrite()
	mustEnd(t, j.taker)
	reset(t, j.taker)
	j.mustSucceed(len(payload))
	j.Finish(context.Background(), patience)
}

func TestSourceResets(t *testing.T) {
	t.Run("before the first byte", func(t *testing.T) {
		j := join(t, Options{}, 0)
		reset(t, j.sender)
		j.mustFail(Source, ErrReset)
	})
	t.Run("before Run", func(t *testing.T) {
		j := prepare(t, Options{}, 0)
		reset(t, j.sender)
		j.run()
		j.mustFail(Source, ErrReset)
	})
	t.Run("in the middle", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.send(random(300 << 10))
		if _, err := io.ReadFull(j.taker, make([]byte, 300<<10)); err != nil {
			t.Fatal(err)
		}
		reset(t, j.sender)
		j.mustFail(Source, ErrReset)
		if got := j.Bytes(); got != 300<<10 {
			t.Errorf("Bytes = %d", got)
		}
	})
	t.Run("while the destination takes nothing", func(t *testing.T) {
		j := join(t, Options{}, smallBuffer)
		j.send(make([]byte, 32<<20))
		j.mustBlock()
		reset(t, j.sender)
		j.mustFail(Source, ErrReset)
	})
	t.Run("while the destination takes nothing for long", func(t *testing.T) {
		j := join(t, Options{}, smallBuffer)
		j.send(make([]byte, 32<<20))
		j.mustBlock()
		eventually(t, "the source is watched", j.watches)
		reset(t, j.sender)
		j.mustFail(Source, ErrReset)
	})
	t.Run("while the destination takes nothing again", func(t *testing.T) {
		j := join(t, Options{}, smallBuffer)
		j.send(make([]byte, 8<<20))
		j.mustBlock()
		eventually(t, "the source is watched", j.watches)
		if _, err := io.ReadFull(j.taker, make([]byte, 8<<20)); err != nil {
			t.Fatal(err)
		}
		if err := <-j.sent; err != nil {
			t.Fatal(err)
		}
		j.sender.Write([]byte("x")) // wakes the watch, which has nothing to watch
		eventually(t, "the watch has ended", func() bool { return !j.watches() })
		j.send(make([]byte, 32<<20))
		j.mustBlock()
		eventually(t, "the source is watched again", j.watches)
		reset(t, j.sender)
		j.mustFail(Source, ErrReset)
	})
	t.Run("after its FIN, all in our kernel", func(t *testing.T) {
		j := prepare(t, Options{}, 0)
		payload := random(20 << 10) // What the kernel takes of more, when nobody reads, differs.
		j.sendAll(payload)
		eventually(t, "everything has reached the source", func() bool { return j.source.queued(t) == len(payload) })
		reset(t, j.sender)
		j.run()
		if got := mustEnd(t, j.taker); !bytes.Equal(got, payload) {
			t.Errorf("%d bytes arrived, want %d", len(got), len(payload))
		}
		j.mustSucceed(len(payload))
		j.taker.Close()
		j.Finish(context.Background(), patience)
	})
	t.Run("after its FIN, while the destination takes nothing", func(t *testing.T) {
		j := prepare(t, Options{}, smallBuffer)
		payload := random(400 << 10)
		j.destination.conn.(*net.TCPConn).SetWriteBuffer(smallBuffer)
		j.source.conn.(*net.TCPConn).SetReadBuffer(1 << 20)
		pipes.closeIdle()
		j.run()
		j.send(payload)
		j.mustBlock()
		if err := <-j.sent; err != nil {
			t.Fatal(err)
		}
		j.sender.CloseWrite()
		eventually(t, "source is at its FIN", func() bool { return j.source.state(t) == unix.BPF_TCP_CLOSE_WAIT })
		reset(t, j.sender)
		eventually(t, "source is reset", func() bool { return j.source.state(t) == unix.BPF_TCP_CLOSE })
		j.running(4 * watchDelay)
		if got := mustEnd(t, j.taker); !bytes.Equal(got, payload) {
			t.Errorf("%d bytes arrived, want %d", len(got), len(payload))
		}
		j.mustSucceed(len(payload))
		j.taker.Close()
		j.Finish(context.Background(), patience)
	})
}

func TestDestinationResets(t *testing.T) {
	t.Run("while the source is silent", func(t *testing.T) {
		j := join(t, Options{}, 0)
		reset(t, j.taker)
		j.mustFail(Destination, ErrReset)
	})
	t.Run("before Run", func(t *testing.T) {
		j := prepare(t, Options{}, 0)
		reset(t, j.taker)
		j.run()
		j.mustFail(Destination, ErrReset)
	})
	t.Run("after its FIN, while the source is silent", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.taker.CloseWrite()
		eventually(t, "FIN seen", j.fin.Load)
		reset(t, j.taker)
		j.mustFail(Destination, ErrReset)
	})
	t.Run("in the middle", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.send(make([]byte, 64<<20))
		if _, err := io.ReadFull(j.taker, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		reset(t, j.taker)
		j.mustFail(Destination, ErrReset)
	})
	t.Run("while it takes nothing", func(t *testing.T) {
		j := join(t, Options{}, smallBuffer)
		j.send(make([]byte, 32<<20))
		j.mustBlock()
		reset(t, j.taker)
		j.mustFail(Destination, ErrReset)
	})
	t.Run("by closing with bytes unread", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.send(random(10))
		eventually(t, "bytes have arrived", func() bool { return newLeg(j.taker).queued(t) == 10 })
		j.taker.Close()
		j.mustFail(Destination, ErrReset)
	})
	t.Run("by closing in the middle", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.send(make([]byte, 64<<20))
		if _, err := io.ReadFull(j.taker, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		j.taker.Close()
		j.mustFail(Destination, ErrReset)
	})
}

// tail brings a copy to where the source is done and closed, and the
// destination's peer, which does not read, has acknowledged a part only.
func tail(t *testing.T, o Options, n int) *joint { return tailWithGrace(t, o, n, never) }

// tailWithGrace gives a half-closed destination that moves nothing some time.
func tailWithGrace(t *testing.T, o Options, n int, grace time.Duration) *joint {
	t.Helper()
	j := prepare(t, o, smallBuffer)
	j.grace = grace
	j.destination.conn.(*net.TCPConn).SetWriteBuffer(4 * n)
	j.sender.SetWriteBuffer(4 * n)
	j.sendAll(random(n)) // It waits for nobody, so no stall is too short for it.
	j.run()
	mustEnd(t, j.sender)
	j.sender.Close()
	if got := j.Bytes(); got != int64(n) {
		t.Fatalf("Bytes = %d", got)
	}
	return j
}

func TestTail(t *testing.T) {
	const n = 200 << 10
	t.Run("reset", func(t *testing.T) {
		j := tail(t, Options{}, n)
		j.running(3 * ackPollMax)
		reset(t, j.taker)
		j.mustFail(Destination, ErrReset)
	})
	t.Run("closed with bytes unread", func(t *testing.T) {
		j := tail(t, Options{}, n)
		j.taker.Close()
		j.mustFail(Destination, ErrReset)
	})
	t.Run("half-closed and never read", func(t *testing.T) {
		j := tailWithGrace(t, Options{}, n, finGrace)
		j.taker.CloseWrite()
		j.mustFail(Destination, ErrReset)
	})
	t.Run("half-closed and read", func(t *testing.T) {
		j := tail(t, Options{}, n)
		j.taker.CloseWrite()
		eventually(t, "FIN seen", j.fin.Load)
		if got := len(mustEnd(t, j.taker)); got != n {
			t.Errorf("%d bytes arrived", got)
		}
		j.mustSucceed(n)
		j.Finish(context.Background(), patience)
	})
	t.Run("half-closed in the pause of a slow reader", func(t *testing.T) {
		j := tail(t, Options{}, n)
		j.running(5 * ackPollMax) // Polls have seen that nothing moves.
		j.taker.CloseWrite()
		eventually(t, "FIN seen", j.fin.Load)
		j.running(5 * ackPollMax)
		if got := len(mustEnd(t, j.taker)); got != n {
			t.Errorf("%d bytes arrived", got)
		}
		j.mustSucceed(n)
		j.Finish(context.Background(), patience)
	})
	t.Run("half-closed before and read at last", func(t *testing.T) {
		j := prepare(t, Options{}, smallBuffer)
		j.destination.conn.(*net.TCPConn).SetWriteBuffer(4 * n)
		j.taker.CloseWrite()
		j.run()
		eventually(t, "FIN seen", j.fin.Load)
		j.sendAll(random(n))
		j.running(finGrace + 5*ackPollMax)
		if got := len(mustEnd(t, j.taker)); got != n {
			t.Errorf("%d bytes arrived", got)
		}
		j.mustSucceed(n)
		j.Finish(context.Background(), patience)
	})
	t.Run("read at last", func(t *testing.T) {
		j := tail(t, Options{}, n)
		j.running(3 * ackPollMax)
		if got := len(mustEnd(t, j.taker)); got != n {
			t.Errorf("%d bytes arrived", got)
		}
		j.mustSucceed(n)
		j.taker.Close()
		j.Finish(context.Background(), patience)
	})
	t.Run("cancelled", func(t *testing.T) {
		j := tail(t, Options{}, n)
		j.cancel(errCancel)
		j.mustFail(None, errCancel)
	})
}

var errCancel = errors.New("enough")

func TestCancel(t *testing.T) {
	t.Run("source silent", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.cancel(errCancel)
		j.mustFail(None, errCancel)
	})
	t.Run("destination takes nothing", func(t *testing.T) {
		j := join(t, Options{}, smallBuffer)
		j.send(make([]byte, 32<<20))
		j.mustBlock()
		j.cancel(errCancel)
		j.mustFail(None, errCancel)
	})
	t.Run("before Run", func(t *testing.T) {
		j := prepare(t, Options{}, 0)
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errCancel)
		j.results <- j.Run(ctx)
		j.mustFail(None, errCancel)
	})
	t.Run("after success", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.sender.Close()
		j.mustSucceed(0)
		j.cancel(errCancel)
		if got := mustEnd(t, j.taker); len(got) != 0 {
			t.Errorf("%d bytes arrived", len(got))
		}
		j.taker.Close()
		j.Finish(context.Background(), patience)
	})
}

// The stall is long, because the copy itself must have moved something by then;
// no test has to. So they wait side by side.
func TestStall(t *testing.T) {
	const stall = 3 * time.Second
	var waiting sync.WaitGroup
	defer waiting.Wait()
	run := func(name string, f func(t *testing.T)) { waiting.Go(func() { t.Run(name, f) }) }
	run("source", func(t *testing.T) {
		start := time.Now()
		j := join(t, Options{Stall: stall}, 0)
		r := j.result()
		if d := time.Since(start); d < stall {
			t.Errorf("noticed after %v", d)
		}
		j.results <- r
		j.mustFail(Source, ErrStalled)
	})
	run("source after some bytes", func(t *testing.T) {
		j := prepare(t, Options{Stall: stall}, 0)
		if _, err := j.sender.Write(random(1000)); err != nil {
			t.Fatal(err)
		}
		j.run()
		if _, err := io.ReadFull(j.taker, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		j.mustFail(Source, ErrStalled)
	})
	run("destination", func(t *testing.T) {
		j := prepare(t, Options{Stall: stall}, smallBuffer)
		j.send(make([]byte, 32<<20))
		eventually(t, "more is here than the destination takes", func() bool { return j.source.queued(t) > 4*smallBuffer })
		j.run()
		j.mustFail(Destination, ErrStalled)
	})
	run("destination with all in its kernel", func(t *testing.T) {
		j := prepare(t, Options{Stall: stall}, smallBuffer)
		j.destination.conn.(*net.TCPConn).SetWriteBuffer(1 << 20)
		j.sender.SetWriteBuffer(1 << 20)
		if _, err := j.sender.Write(random(100 << 10)); err != nil {
			t.Fatal(err)
		}
		j.run()
		j.mustFail(Destination, ErrStalled)
	})
	run("tail", func(t *testing.T) {
		j := tail(t, Options{Stall: stall}, 200<<10)
		j.mustFail(Destination, ErrStalled)
	})
	// The receiver makes room in steps of 2 KiB, long before our kernel wants
	// more bytes of us.
	run("slow receiver", func(t *testing.T) {
		j := prepare(t, Options{Stall: stall}, smallBuffer)
		j.destination.conn.(*net.TCPConn).SetWriteBuffer(1 << 20)
		j.sender.SetWriteBuffer(1 << 20)
		payload := random(28 << 10)
		j.sendAll(payload)
		j.run()
		tick := time.NewTicker(stall / 16)
		defer tick.Stop()
		start := time.Now()
		for got := 0; got < len(payload); <-tick.C {
			n, err := j.taker.Read(make([]byte, 1<<10))
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			got += n
		}
		if time.Since(start) < stall*3/2 { // A stall is noticed after 9/8 of it.
			t.Error("the receiver was not slow")
		}
		j.mustSucceed(len(payload))
		j.taker.Close()
		j.Finish(context.Background(), patience)
	})
}

func TestStrayBytes(t *testing.T) {
	j := join(t, Options{}, 0)
	stray := random(3 << 20)
	if _, err := j.taker.Write(stray); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stray bytes discarded", func() bool { return j.Stray() == int64(len(stray)) })
	j.sendAll([]byte("x"))
	if got := mustEnd(t, j.taker); string(got) != "x" {
		t.Errorf("%d bytes arrived", len(got))
	}
	j.mustSucceed(1)
	j.taker.Write(stray[:100]) // Finish discards these
	j.taker.CloseWrite()
	j.Finish(context.Background(), patience)
	if got := j.Stray(); got != int64(len(stray)+100) {
		t.Errorf("Stray = %d", got)
	}
}

// What the destination sent before it acknowledged everything is counted when Run
// returns, though nobody has read it yet.
func TestStrayBytesNotYetRead(t *testing.T) {
	watch := make(chan struct{})
	j := prepare(t, Options{Go: func(f func()) {
		go func() { <-watch; f() }()
	}}, 0)
	const stray = "against the direction"
	if _, err := j.taker.Write([]byte(stray)); err != nil {
		t.Fatal(err)
	}
	j.run()
	j.sendAll([]byte("x"))
	if got := mustEnd(t, j.taker); string(got) != "x" {
		t.Errorf("%d bytes arrived", len(got))
	}
	j.mustSucceed(1)
	if got := j.Stray(); got != int64(len(stray)) {
		t.Errorf("Stray = %d before anybody has read, want %d", got, len(stray))
	}
	close(watch)
	j.taker.CloseWrite()
	j.Finish(context.Background(), patience)
	if got := j.Stray(); got != int64(len(stray)) {
		t.Errorf("Stray = %d in the end, want %d", got, len(stray))
	}
}

// A downloading client may half-close as soon as it is connected.
func TestDestinationHalfCloses(t *testing.T) {
	j := join(t, Options{}, 0)
	j.taker.CloseWrite()
	eventually(t, "FIN seen", j.fin.Load)
	j.transfer(random(5 << 20))
}

// Splice stops at an urgent byte, and says EOF when a FIN follows.
func TestUrgentByte(t *testing.T) {
	for _, begun := range []bool{false, true} {
		j := prepare(t, Options{}, 0)
		if begun {
			j.run()
		}
		j.sender.Write([]byte("before "))
		raw, err := j.sender.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil) })
		if err != nil {
			t.Fatal(err)
		}
		j.sender.Write([]byte("after"))
		if !begun {
			eventually(t, "it has arrived", func() bool { return j.source.received(t) >= 13 })
			j.run()
		}
		got := make([]byte, len("before after"))
		j.taker.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(j.taker, got); err != nil || string(got) != "before after" {
			t.Errorf("%q arrived, then %v", got, err)
		}
		j.sender.Write(random(2 << 20))
		j.sender.CloseWrite()
		if got := mustEnd(t, j.taker); len(got) != 2<<20 {
			t.Errorf("%d bytes arrived after that", len(got))
		}
		j.mustSucceed(len("before after") + 2<<20)
		j.taker.Close()
		j.Finish(context.Background(), patience)
	}
}

func TestFinish(t *testing.T) {
	t.Run("no FIN comes", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.sender.Close()
		j.mustSucceed(0)
		start := time.Now()
		j.Finish(context.Background(), 50*time.Millisecond)
		if d := time.Since(start); d < 50*time.Millisecond || d > patience {
			t.Errorf("Finish took %v", d)
		}
		mustEnd(t, j.taker)
	})
	t.Run("FIN comes", func(t *testing.T) {
		j := join(t, Options{}, 0)
		j.sender.Close()
		j.mustSucceed(0)
		finished := make(chan struct{})
		go func() { j.Finish(context.Background(), time.Hour); close(finished) }()
		mustEnd(t, j.taker)
		j.taker.Close()
		select {
		case <-finished:
		case <-time.After(patience):
			t.Fatal("Finish does not return")
		}
	})
	t.Run("without Run", func(t *testing.T) {
		j := prepare(t, Options{}, 0)
		j.Finish(context.Background(), patience)
		mustEnd(t, j.taker)
		mustEnd(t, j.sender)
	})
}

// mustBlock waits until the destination takes no more bytes.
func (j *joint) mustBlock() {
	j.t.Helper()
	eventually(j.t, "blocked", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.blocked
	})
}

// watches reports whether the source is watched while the copy is blocked.
func (j *joint) watches() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.parked
}

// queued returns how many bytes wait to be read.
func (l leg) queued(t testing.TB) (n int) {
	t.Helper()
	if err := l.raw.Control(func(fd uintptr) {
		v, _ := unix.IoctlGetUint32(int(fd), unix.SIOCINQ)
		n = int(v)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func (l leg) info(t testing.TB) (i *unix.TCPInfo) {
	t.Helper()
	if err := l.raw.Control(func(fd uintptr) {
		i, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil {
		t.Fatal(err)
	}
	return i
}

func (l leg) state(t testing.TB) uint8     { return l.info(t).State }
func (l leg) received(t testing.TB) uint64 { return l.info(t).Bytes_received }

// All that the source sends is here as soon as its FIN is, though the copy is
// blocked and has not read it.
func TestEndedBeforeEOFIsRead(t *testing.T) {
	j := join(t, Options{}, smallBuffer)
	chunk := make([]byte, 64<<10)
	for written := int64(0); j.Bytes() == written; {
		if _, err := j.sender.Write(chunk); err != nil {
			t.Fatal(err)
		}
		written += int64(len(chunk))
		// Where nothing moves in so many looks the copy is blocked, and there is
		// room for a FIN.
		still, last := 0, progress{}
		eventually(t, "the chunk is through, or stuck", func() bool {
			if now := j.progress(); now == last {
				still++
			} else {
				still, last = 0, now
			}
			return j.Bytes() == written || still == 100
		})
	}
	if j.Ended() {
		t.Fatal("ended before the FIN")
	}
	if err := j.sender.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ended", j.Ended)
	if j.ended.Load() {
		t.Error("the copy has read the EOF: the test shows nothing")
	}
	j.cancel(errors.New("enough"))
	<-j.results
}
