package pace

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"ftproxy/internal/splice"
)

func connect(t *testing.T) (ours, peer net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err = net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); peer.Close() })
	return ours, peer
}

// Real transfers that share a limit are not faster than it, and they are spliced.
// A machine that stands still makes them slower only.
func TestRealTransfers(t *testing.T) {
	const limit, transfers, size = 12 << 20, 2, 8 << 20
	const burst = 10 << 16 // what the kernel sends unpaced on loopback
	var (
		s     Set
		group sync.WaitGroup
	)
	h := s.NewShare(limit)
	began := time.Now()
	for range transfers {
		destination, taker := connect(t)
		source, sender := connect(t)
		group.Go(func() {
			_, _ = sender.Write(make([]byte, size))
			sender.Close()
		})
		group.Go(func() {
			if n, err := io.Copy(io.Discard, taker); n != size || err != nil {
				t.Errorf("%d bytes arrived, then %v", n, err)
			}
			taker.Close()
		})
		group.Go(func() {
			c := splice.New(destination, source, splice.Options{})
			leave, err := s.Join(context.Background(), c, h)
			if err != nil {
				t.Error(err)
			}
			r := c.Run(context.Background())
			leave()
			c.Finish(context.Background(), time.Minute)
			if r.Err != nil || c.Spliced() != size || c.Acked() != size {
				t.Errorf("Run = %+v, %d bytes spliced, %d acknowledged", r, c.Spliced(), c.Acked())
			}
		})
	}
	group.Wait()
	seconds := transfers * (size - burst) / (1.05 * limit)
	least := time.Duration(seconds * float64(time.Second))
	if took := time.Since(began); took < least {
		t.Errorf("took %v, which is less than %v", took, least)
	}
}
