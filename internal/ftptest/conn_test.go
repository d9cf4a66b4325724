package ftptest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// socket is what *Conn and *net.TCPConn have in common.
type socket interface {
	net.Conn
	CloseWrite() error
	SetLinger(int) error
}

// read reads everything up to the end and returns it with what ended it.
func read(c net.Conn) (string, error) {
	b, err := io.ReadAll(c)
	return string(b), err
}

// TestEndsAsOnLinux runs each way of ending a connection on the fake network
// and on the loopback interface.
func TestEndsAsOnLinux(t *testing.T) {
	tests := []struct {
		name string
		end  func(c socket)
		data string // the peer reads
		err  error  // and then
	}{
		{"close", func(c socket) { c.Close() }, "", nil},
		{"data, close", func(c socket) { c.Write([]byte("data")); c.Close() }, "data", nil},
		{"data, half-close", func(c socket) { c.Write([]byte("data")); c.CloseWrite() }, "data", nil},
		{"reset", func(c socket) { c.SetLinger(0); c.Close() }, "", syscall.ECONNRESET},
		{"data, reset", func(c socket) { c.Write([]byte("data")); c.SetLinger(0); c.Close() }, "data", syscall.ECONNRESET},
		{"half-close, reset", func(c socket) { c.CloseWrite(); c.SetLinger(0); c.Close() }, "", nil},
		{"linger, close", func(c socket) { c.SetLinger(1); c.Write([]byte("data")); c.Close() }, "data", nil},
	}
	nets := map[string]func(*testing.T) (a, b socket){"fake": fakePair, "loopback": loopbackPair}
	for _, tt := range tests {
		for name, pair := range nets {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				a, b := pair(t)
				tt.end(a)
				if data, err := read(b); data != tt.data || !errors.Is(err, tt.err) {
					t.Errorf("read %q, %v; want %q, %v", data, err, tt.data, tt.err)
				}
			})
		}
	}
	for name, pair := range nets {
		t.Run("close with unread input/"+name, func(t *testing.T) {
			a, b := pair(t)
			b.Write([]byte("unread"))
			a.Read(make([]byte, 2))
			a.Write([]byte("data"))
			a.Close()
			if data, err := read(b); data != "data" || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read %q, %v; want data and a reset", data, err)
			}
			if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("write after the reset was read: %v, want EPIPE", err)
			}
		})
		t.Run("write finds the reset/"+name, func(t *testing.T) {
			a, b := pair(t)
			a.SetLinger(0)
			a.Close()
			if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("first write: %v, want ECONNRESET", err)
			}
			if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("second write: %v, want EPIPE", err)
			}
		})
		t.Run("write to one that has closed/"+name, func(t *testing.T) {
			a, b := pair(t)
			a.Close()
			var err error
			for err == nil {
				_, err = b.Write([]byte("x"))
			}
			if !errors.Is(err, syscall.EPIPE) {
				t.Errorf("write: %v, want EPIPE", err)
			}
			if data, err := read(b); data != "" || err != nil {
				t.Errorf("read %q, %v; want EOF", data, err)
			}
		})
		t.Run("half-close leaves the other half/"+name, func(t *testing.T) {
			a, b := pair(t)
			a.CloseWrite()
			if data, err := read(b); data != "" || err != nil {
				t.Fatalf("read %q, %v; want EOF", data, err)
			}
			b.Write([]byte("answer"))
			b.Close()
			if data, err := read(a); data != "answer" || err != nil {
				t.Errorf("read %q, %v; want the answer", data, err)
			}
			if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("write after CloseWrite: %v, want EPIPE", err)
			}
		})
		t.Run("own close/"+name, func(t *testing.T) {
			a, _ := pair(t)
			a.Close()
			_, readErr := a.Read(make([]byte, 1))
			_, writeErr := a.Write([]byte("x"))
			for _, err := range []error{readErr, writeErr, a.Close(), a.CloseWrite(), a.SetLinger(0), a.SetDeadline(time.Now())} {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("%v, want net.ErrClosed", err)
				}
			}
		})
		t.Run("half-close after reset/"+name, func(t *testing.T) {
			a, b := pair(t)
			a.SetLinger(0)
			a.Close()
			read(b)
			if err := b.CloseWrite(); !errors.Is(err, syscall.ENOTCONN) {
				t.Errorf("%v, want ENOTCONN", err)
			}
		})
		t.Run("expired deadline/"+name, func(t *testing.T) {
			a, b := pair(t)
			a.Write([]byte("data"))
			b.SetDeadline(time.Now().Add(-time.Second))
			_, readErr := b.Read(make([]byte, 1))
			_, writeErr := b.Write([]byte("x"))
			if !errors.Is(readErr, os.ErrDeadlineExceeded) || !errors.Is(writeErr, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v, write: %v; want timeouts", readErr, writeErr)
			}
			b.SetDeadline(time.Time{})
			p := make([]byte, 4)
			if _, err := io.ReadFull(b, p); err != nil {
				t.Errorf("read without deadline: %v", err)
			}
		})
	}
}

func fakePair(t *testing.T) (a, b socket) {
	proxy, client := twoHosts()
	return connect(t, client, proxy)
}

func loopbackPair(t *testing.T) (a, b socket) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback:", err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(socket), s.(socket)
}

func TestReadWaits(t *testing.T) {
	ends := map[string]struct {
		end  func(c, peer *Conn)
		want error
	}{
		"data":      {func(_, peer *Conn) { peer.Write([]byte("x")) }, nil},
		"EOF":       {func(_, peer *Conn) { peer.CloseWrite() }, io.EOF},
		"reset":     {func(_, peer *Conn) { peer.SetLinger(0); peer.Close() }, syscall.ECONNRESET},
		"own close": {func(c, _ *Conn) { c.Close() }, net.ErrClosed},
		"deadline":  {func(c, _ *Conn) { c.SetReadDeadline(time.Now().Add(3 * time.Second)) }, os.ErrDeadlineExceeded},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				proxy, client := twoHosts()
				c, peer := connect(t, client, proxy)
				got := make(chan error, 1)
				go func() {
					_, err := c.Read(make([]byte, 1))
					got <- err
				}()
				synctest.Wait()
				if len(got) > 0 {
					t.Fatalf("Read did not wait: %v", <-got)
				}
				tt.end(c, peer)
				if err := <-got; !errors.Is(err, tt.want) {
					t.Errorf("Read: %v, want %v", err, tt.want)
				}
			})
		})
	}
}

func TestWriteWaitsForRoom(t *testing.T) {
	const size = 1000
	ends := map[string]struct {
		end  func(c, peer *Conn)
		sent int
		want error
	}{
		"room":       {func(_, peer *Conn) { io.CopyN(io.Discard, peer, size) }, size, nil},
		"buffer":     {func(_, peer *Conn) { peer.SetReadBuffer(size) }, size, nil},
		"reset":      {func(_, peer *Conn) { peer.Close() }, 100, syscall.ECONNRESET}, // it has unread input
		"own close":  {func(c, _ *Conn) { c.Close() }, 100, net.ErrClosed},
		"own EOF":    {func(c, _ *Conn) { c.CloseWrite() }, 100, syscall.EPIPE},
		"deadline":   {func(c, _ *Conn) { c.SetWriteDeadline(time.Now().Add(time.Minute)) }, 100, os.ErrDeadlineExceeded},
		"their EOF":  {func(_, peer *Conn) { peer.CloseWrite(); io.CopyN(io.Discard, peer, size) }, size, nil},
		"some room":  {func(c, peer *Conn) { io.CopyN(io.Discard, peer, 50); synctest.Wait(); c.Close() }, 150, net.ErrClosed},
		"slow peers": {func(_, peer *Conn) { readSlowly(peer, size) }, size, nil},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork()
				n.SetBuffer(100)
				c, peer := connect(t, n.Host(someone), n.Host(proxyOut))
				type result struct {
					n   int
					err error
				}
				got := make(chan result, 1)
				go func() {
					n, err := c.Write(bytes.Repeat([]byte("x"), size))
					got <- result{n, err}
				}()
				synctest.Wait()
				if len(got) > 0 {
					t.Fatalf("Write did not wait: %v", <-got)
				}
				tt.end(c, peer)
				if r := <-got; r.n != tt.sent || !errors.Is(r.err, tt.want) {
					t.Errorf("Write = %d, %v; want %d, %v", r.n, r.err, tt.sent, tt.want)
				}
			})
		})
	}
}

// readSlowly reads size bytes, 10 a second.
func readSlowly(c *Conn, size int) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range size / 10 {
		<-tick.C
		io.CopyN(io.Discard, c, 10)
	}
}

func TestWritesDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		n.SetBuffer(7)
		c, peer := connect(t, n.Host(someone), n.Host(proxyOut))
		done := make(chan error, 2)
		for _, b := range []string{"a", "b"} {
			go func() {
				_, err := c.Write(bytes.Repeat([]byte(b), 100))
				done <- err
			}()
		}
		synctest.Wait()
		p := make([]byte, 200)
		if _, err := io.ReadFull(peer, p); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
		if got := string(slices.Compact(p)); got != "ab" && got != "ba" {
			t.Errorf("received the runs %q", got)
		}
	})
}

func TestSecondWriteEndsWithTheFirst(t *testing.T) {
	for name, end := range map[string]func(*Conn){
		"close":    func(c *Conn) { c.Close() },
		"deadline": func(c *Conn) { c.SetWriteDeadline(time.Now().Add(time.Second)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork()
				n.SetBuffer(1)
				c, _ := connect(t, n.Host(someone), n.Host(proxyOut))
				done := make(chan error, 2)
				for range 2 {
					go func() {
						_, err := c.Write([]byte("xx"))
						done <- err
					}()
				}
				synctest.Wait()
				end(c)
				if a, b := <-done, <-done; a == nil || b == nil {
					t.Errorf("errors %v and %v", a, b)
				}
			})
		})
	}
}

// A deadline that was moved or removed in time has no effect.
func TestDeadlineMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proxy, client := twoHosts()
		c, peer := connect(t, client, proxy)
		began := time.Now()
		got := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			got <- err
		}()
		c.SetReadDeadline(began.Add(time.Second))
		synctest.Wait()
		c.SetReadDeadline(began.Add(3 * time.Second))
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("Read: %v after %v, want a timeout after 3s", err, time.Since(began))
		}
		c.SetReadDeadline(began.Add(4 * time.Second))
		c.SetReadDeadline(time.Time{})
		go func() {
			_, err := c.Read(make([]byte, 1))
			got <- err
		}()
		select {
		case err := <-got:
			t.Fatalf("Read without deadline: %v", err)
		case <-time.After(time.Hour):
		}
		peer.Write([]byte("x"))
		if err := <-got; err != nil {
			t.Errorf("Read: %v", err)
		}
	})
}

func TestWriteUrgent(t *testing.T) {
	proxy, client := twoHosts()
	c, s := connect(t, client, proxy)
	c.Write([]byte("a"))
	c.WriteUrgent([]byte{0xFF, 0xF2})
	c.Write([]byte("ABOR\r\n"))
	c.Close()
	if got, _ := read(s); got != "a\xff\xf2ABOR\r\n" {
		t.Errorf("read %q", got)
	}
	if got := s.Urgent(); len(got) != 1 || string(got[0]) != "\xff\xf2" {
		t.Errorf("urgent %q", got)
	}
	if got := c.Urgent(); len(got) != 0 {
		t.Errorf("urgent at the sender: %q", got)
	}
}

func TestInOnePiece(t *testing.T) {
	proxy, client := twoHosts()
	c, s := connect(t, client, proxy)
	c.Write([]byte("one\r\ntwo\r\n"))
	c.Write([]byte("thr"))
	c.Write([]byte("ee\r\n"))
	for _, tt := range []struct {
		from, to int64
		want     bool
	}{{0, 5, true}, {5, 10, true}, {10, 17, false}, {13, 17, true}} {
		if got := s.inOnePiece(tt.from, tt.to); got != tt.want {
			t.Errorf("inOnePiece(%d, %d) = %v", tt.from, tt.to, got)
		}
	}
}
