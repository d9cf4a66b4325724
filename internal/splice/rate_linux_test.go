package splice

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// burst is what a loopback connection sends unpaced: ten segments of 64 KiB.
const burst = 10 << 16

// pacing returns the rate that the kernel keeps, and how many bytes may wait
// unsent.
func pacing(t *testing.T, c *net.TCPConn) (rate uint64, unsent int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) {
		if rate, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE); err == nil {
			unsent, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		t.Fatal(err)
	}
	return rate, unsent
}

func TestSetRateOnSocket(t *testing.T) {
	j := prepare(t, Options{}, 0)
	ours := j.destination.conn.(*net.TCPConn)
	for _, step := range []struct {
		rate, want int64
		unsent     int
	}{
		{1, 1, 16 << 10},
		{2_000_000, 2_000_000, 1_000_000},
		{10_000_000_000, 10_000_000_000, math.MaxInt32}, // more than 32 bits
		{math.MaxInt64, math.MaxInt64, math.MaxInt32},
		{0, -1, 0}, // all ones: no limit
	} {
		if err := j.SetRate(step.rate); err != nil {
			t.Fatal(err)
		}
		if rate, unsent := pacing(t, ours); rate != uint64(step.want) || unsent != step.unsent {
			t.Errorf("after SetRate(%d) the kernel has %d, %d; want %d, %d", step.rate, rate, unsent, uint64(step.want), step.unsent)
		}
	}
	if rate, _ := pacing(t, j.source.conn.(*net.TCPConn)); rate != math.MaxUint64 {
		t.Errorf("the source is paced at %d", rate)
	}
}

func TestSetRateBelowTLS(t *testing.T) {
	ours, _ := tcpPair(t, 0)
	_, source := net.Pipe()
	c := New(tls.Server(ours, &tls.Config{}), source, Options{})
	if err := c.SetRate(12345); err != nil {
		t.Fatal(err)
	}
	if rate, _ := pacing(t, ours); rate != 12345 {
		t.Errorf("the kernel has %d", rate)
	}
}

func TestSetRateUnsupported(t *testing.T) {
	destination, source := net.Pipe()
	if err := New(destination, source, Options{}).SetRate(1000); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SetRate on a pipe = %v, want ErrUnsupported", err)
	}
}

func TestSetRateAfterTheEnd(t *testing.T) {
	j := join(t, Options{}, 0)
	j.cancel(errors.New("enough"))
	j.result()
	if err := j.SetRate(1000); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetRate = %v, want ErrClosed", err)
	}
}

// A machine that stands still makes the transfer longer and never faster.
func TestRateIsNotExceeded(t *testing.T) {
	const size, rate = 6 << 20, 8 << 20
	j := prepare(t, Options{Stall: never}, 0)
	if err := j.SetRate(rate); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	j.run()
	j.transfer(random(size))
	least := time.Duration(math.Floor(float64(size-burst) / (1.05 * rate) * float64(time.Second)))
	if took := time.Since(began); took < least {
		t.Errorf("took %v, which is less than %v", took, least)
	}
}

// Lifting the limit takes effect on what is waiting.
func TestRateIsLifted(t *testing.T) {
	j := prepare(t, Options{Stall: never}, 0)
	if err := j.SetRate(100_000); err != nil {
		t.Fatal(err)
	}
	j.run()
	j.send(make([]byte, 64<<20)) // 11 minutes at that rate
	if _, err := io.ReadFull(j.taker, make([]byte, burst)); err != nil {
		t.Fatal(err)
	}
	if err := j.SetRate(0); err != nil {
		t.Fatal(err)
	}
	j.taker.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(j.taker, make([]byte, 64<<20-burst)); err != nil {
		t.Fatal(err)
	}
	j.sender.Close()
	mustEnd(t, j.taker)
	j.mustSucceed(64 << 20)
	j.taker.Close()
	j.Finish(context.Background(), patience)
}

// What waits for its time in our kernel does not hold up an abort.
func TestAbortWhilePaced(t *testing.T) {
	j := prepare(t, Options{}, 0)
	if err := j.SetRate(1000); err != nil {
		t.Fatal(err)
	}
	j.run()
	j.send(make([]byte, 32<<20))
	j.mustBlock()
	enough := errors.New("enough")
	j.cancel(enough)
	j.mustFail(None, enough)
}

func TestResetWhilePaced(t *testing.T) {
	for _, side := range []Side{Source, Destination} {
		t.Run(side.String(), func(t *testing.T) {
			j := prepare(t, Options{}, 0)
			if err := j.SetRate(1000); err != nil {
				t.Fatal(err)
			}
			j.run()
			j.send(make([]byte, 32<<20))
			j.mustBlock()
			if side == Source {
				reset(t, j.sender)
			} else {
				reset(t, j.taker)
			}
			j.mustFail(side, ErrReset)
		})
	}
}

// Packets that are further apart than the time of a stall are no stall.
func TestSlowRateIsNoStall(t *testing.T) {
	const rate, stall = 200_000, 100 * time.Millisecond // a packet of loopback takes 300 ms
	j := prepare(t, Options{Stall: stall}, 0)
	if err := j.SetRate(rate); err != nil {
		t.Fatal(err)
	}
	j.sendAll(make([]byte, burst+rate/2)) // fits into the sender's kernel
	j.run()
	j.taker.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.Copy(io.Discard, onlyReader{j.taker}); n != burst+rate/2 || err != nil {
		t.Errorf("%d bytes arrived, then %v", n, err)
	}
	j.mustSucceed(burst + rate/2)
	j.taker.Close()
	j.Finish(context.Background(), patience)
}

// A limit does not make a stall of the source or of the destination pass.
func TestStallWhilePaced(t *testing.T) {
	const rate, stall = 4_000_000, 100 * time.Millisecond
	t.Run("source", func(t *testing.T) {
		j := prepare(t, Options{Stall: stall}, 0)
		if err := j.SetRate(rate); err != nil {
			t.Fatal(err)
		}
		j.run()
		j.mustFail(Source, ErrStalled)
	})
	t.Run("destination", func(t *testing.T) {
		j := prepare(t, Options{Stall: stall}, smallBuffer)
		if err := j.SetRate(rate); err != nil {
			t.Fatal(err)
		}
		j.send(make([]byte, 32<<20))
		eventually(t, "more is here than the destination takes", func() bool { return j.source.queued(t) > 4*smallBuffer })
		j.run()
		j.mustFail(Destination, ErrStalled)
	})
}

// Acked counts what has arrived, Bytes also what waits for its time.
func TestAcked(t *testing.T) {
	const size = 2 << 20
	j := prepare(t, Options{}, 0)
	if err := j.SetRate(50_000); err != nil {
		t.Fatal(err)
	}
	if n := j.Acked(); n != 0 {
		t.Errorf("%d bytes acknowledged in the beginning", n)
	}
	j.run()
	j.send(make([]byte, size))
	j.mustBlock()
	var last int64
	eventually(t, "something acknowledged", func() bool {
		last = j.Acked()
		return last > 0
	})
	if n := j.Bytes(); last >= n {
		t.Errorf("%d bytes acknowledged of %d, and some should be waiting", last, n)
	}
	if err := j.SetRate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(j.taker, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	j.sender.CloseWrite()
	mustEnd(t, j.taker)
	j.mustSucceed(size)
	j.taker.Close()
	j.Finish(context.Background(), patience)
	if n := j.Acked(); n != size {
		t.Errorf("%d bytes acknowledged in the end", n)
	}
}

func TestAckedAfterAFailure(t *testing.T) {
	j := join(t, Options{}, smallBuffer)
	j.send(make([]byte, 32<<20))
	j.mustBlock()
	known := j.Acked()
	reset(t, j.taker)
	j.mustFail(Destination, ErrReset)
	if n := j.Acked(); n < known || n >= j.Bytes() {
		t.Errorf("%d bytes acknowledged, %d before the reset, %d handed over", n, known, j.Bytes())
	}
}

func TestPacket(t *testing.T) {
	j := prepare(t, Options{}, 0)
	if n := j.Packet(); n < 32<<10 || n > 64<<10 { // by the time of its round trip
		t.Errorf("a packet of loopback has %d bytes", n)
	}
	destination, source := net.Pipe()
	if n := New(destination, source, Options{}).Packet(); n != 2*1448 {
		t.Errorf("a packet of an unknown network has %d bytes", n)
	}
}
