package splice

import (
	"context"
	"io"
	"net"
	"testing"
)

// benchmark moves size bytes per operation over connections of their own, as
// FTP does, with one goroutine that sends and one that takes.
func benchmark(b *testing.B, size int, move func(destination, source *net.TCPConn) error) {
	payload := make([]byte, min(size, 1<<20))
	taken := make([]byte, 1<<20)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		destination, taker := tcpPair(b, 0)
		source, sender := tcpPair(b, 0)
		done := make(chan struct{})
		b.StartTimer()
		go func() {
			for n := 0; n < size; n += len(payload) {
				sender.Write(payload)
			}
			sender.Close()
		}()
		go func() {
			io.CopyBuffer(discarding{}, onlyReader{taker}, taken)
			taker.Close()
			close(done)
		}()
		if err := move(destination, source); err != nil {
			b.Fatal(err)
		}
		<-done
	}
}

func spliceCopy(destination, source *net.TCPConn) error {
	c := New(destination, source, Options{Stall: never})
	r := c.Run(context.Background())
	c.Finish(context.Background(), patience)
	return r.Err
}

// ioCopy is the least one could do: no watch, no stall, no acknowledgement.
func ioCopy(destination, source *net.TCPConn) error {
	_, err := io.Copy(destination, source)
	source.Close()
	destination.Close()
	return err
}

func BenchmarkCopy(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"256MiB", 256 << 20}, {"1KiB", 1 << 10}} {
		b.Run(size.name+"/splice", func(b *testing.B) { benchmark(b, size.bytes, spliceCopy) })
		b.Run(size.name+"/io.Copy", func(b *testing.B) { benchmark(b, size.bytes, ioCopy) })
	}
}
