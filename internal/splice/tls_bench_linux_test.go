package splice

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftproxy/internal/ftptest"
)

// peersProcess is the environment of a process that is both peers of a copy: what
// the benchmark counts is the copy's own.
const peersProcess = "SPLICE_TEST_PEERS"

// peers sends to the source and takes from the destination. It is what runs in that
// process.
func peers(order string) error {
	var (
		addresses [2]string
		secure    [2]bool
		size      int
		conns     [2]net.Conn
	)
	if _, err := fmt.Sscan(order, &addresses[0], &secure[0], &addresses[1], &secure[1], &size); err != nil {
		return err
	}
	for i, address := range addresses {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}
	for i, conn := range conns {
		if secure[i] {
			c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
			if err := c.Handshake(); err != nil {
				return err
			}
			conns[i] = c
		}
	}
	sent := make(chan error, 1)
	go func() {
		payload := make([]byte, 1<<20)
		for n := 0; n < size; n += len(payload) {
			if _, err := conns[0].Write(payload); err != nil {
				sent <- err
				return
			}
		}
		sent <- conns[0].Close()
	}()
	n, err := io.CopyBuffer(discarding{}, onlyReader{conns[1]}, make([]byte, 1<<20))
	if err != nil || n != int64(size) {
		return fmt.Errorf("%d bytes arrived, then %v", n, err)
	}
	conns[1].Close()
	return <-sent
}

// cpu returns what this process has used, in seconds.
func cpu(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkTLS reports the CPU time for a GB (10^9 bytes) with TLS 1.3,
// AES-128-GCM, and TLS made on Batch or on the bare connection.
func BenchmarkTLS(b *testing.B) {
	const size = 256 << 20
	certificate := ftptest.Certificate(b, "127.0.0.1")
	config := &tls.Config{Certificates: []tls.Certificate{certificate.Certificate}, DynamicRecordSizingDisabled: true, SessionTicketsDisabled: true}
	for _, way := range []struct {
		name   string
		secure [2]bool // source, destination
	}{{"TCP-TLS", [2]bool{false, true}}, {"TLS-TCP", [2]bool{true, false}}, {"TLS-TLS", [2]bool{true, true}}} {
		for _, below := range []struct {
			name string
			of   func(net.Conn) net.Conn
		}{{"batch", Batch}, {"bare", func(c net.Conn) net.Conn { return c }}} {
			b.Run(way.name+"/"+below.name, func(b *testing.B) {
				used := 0.0
				b.SetBytes(size)
				for b.Loop() {
					b.StopTimer()
					conns, ended := startPeers(b, way.secure, size)
					for i := range conns {
						if way.secure[i] {
							c := tls.Server(below.of(conns[i]), config)
							if err := c.Handshake(); err != nil {
								b.Fatal(err)
							}
							conns[i] = c
						}
					}
					c := New(conns[1], conns[0], Options{Stall: never})
					before := cpu(b)
					b.StartTimer()
					if r := c.Run(context.Background()); r.Err != nil || r.Bytes != size {
						b.Fatal(r)
					}
					used += cpu(b) - before
					c.Finish(context.Background(), patience)
					if err := <-ended; err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(used/float64(b.N)/(size/1e9), "cpu-s/GB")
			})
		}
	}
}

// startPeers starts the process of the peers and returns what they have connected.
func startPeers(b *testing.B, secure [2]bool, size int) (conns [2]net.Conn, ended <-chan error) {
	b.Helper()
	var listeners [2]net.Listener
	for i := range listeners {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		listeners[i] = l
	}
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), peersProcess+"="+fmt.Sprintln(listeners[0].Addr(), secure[0], listeners[1].Addr(), secure[1], size))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for i, l := range listeners {
		l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		if conns[i], err = l.Accept(); err != nil {
			b.Fatal(err)
		}
	}
	return conns, done
}
