package tcp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// option reads an option of a socket.
func option(t *testing.T, socket syscall.Conn, level, name int) (value int) {
	t.Helper()
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := control(raw, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, level, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

// The kernel knows of a FIN and of a reset before anybody has read what came before.
func TestEndsAreKnownUnread(t *testing.T) {
	peer, ours := pair(t)
	conn := around{ours}
	if FINReceived(conn) || Over(conn) || Unread(conn) != 0 {
		t.Errorf("in the beginning: FIN %t, over %t, %d unread", FINReceived(conn), Over(conn), Unread(conn))
	}
	if _, err := peer.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "data", func() bool { return Unread(conn) == 4 })
	if err := Peek(conn); err != nil || Unread(conn) != 4 {
		t.Errorf("Peek = %v, and %d bytes are left", err, Unread(conn))
	}
	_ = peer.CloseWrite()
	eventually(t, "FIN", func() bool { return FINReceived(conn) })
	if Over(conn) || Unread(conn) != 4 {
		t.Errorf("after the FIN: over %t, %d unread", Over(conn), Unread(conn))
	}
	if _, err := io.ReadAll(ours); err != nil {
		t.Error(err)
	}
	if err := Peek(conn); err != io.EOF {
		t.Errorf("Peek at the end = %v", err)
	}
	Reset(peer)
	eventually(t, "reset", func() bool { return Over(conn) })
	if FINReceived(conn) {
		t.Error("a FIN, after the reset")
	}
	Reset(ours)
	if FINReceived(conn) || Over(conn) || Unread(conn) != 0 {
		t.Error("something is known of a connection that we have closed")
	}
}

func TestPeekFails(t *testing.T) {
	peer, ours := pair(t)
	_ = ours.SetReadDeadline(time.Unix(1, 0))
	if err := Peek(ours); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	_ = ours.SetReadDeadline(time.Now().Add(patience))
	Reset(peer)
	if err := Peek(ours); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %v", err)
	}
	pipe, _ := net.Pipe()
	if err := Peek(pipe); err != nil {
		t.Errorf("of a pipe: %v", err)
	}
}

func TestUnacknowledged(t *testing.T) {
	peer, ours := pair(t)
	if n, err := Unacknowledged(around{ours}); n != 0 || err != nil {
		t.Errorf("%d, %v in the beginning", n, err)
	}
	// More than both kernels hold waits for the peer to read.
	written := make(chan error, 1)
	go func() {
		_, err := ours.Write(make([]byte, 32<<20))
		written <- err
	}()
	eventually(t, "something waits", func() bool {
		n, err := Unacknowledged(around{ours})
		return n > 0 && err == nil
	})
	if _, err := io.CopyN(io.Discard, peer, 32<<20); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is acknowledged", func() bool {
		n, err := Unacknowledged(around{ours})
		return n == 0 && err == nil
	})
	_ = ours.Close()
	if _, err := Unacknowledged(ours); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	pipe, _ := net.Pipe()
	if n, err := Unacknowledged(pipe); n != 0 || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of a pipe: %d, %v", n, err)
	}
}

// A connection is at least as old as it is.
func TestBorn(t *testing.T) {
	const slack = 50 * time.Millisecond // ticks are up to 10 ms, and so is the kernel's age
	before := Ticks()
	_, ours := pair(t)
	born := Born(ours)
	if after := Ticks(); born.Before(before.Add(-slack)) || born.After(after) {
		t.Errorf("born %v, but connected between %v and %v", born, before, after)
	}
	pipe, _ := net.Pipe()
	if now := Born(pipe); now.Before(born) {
		t.Errorf("a pipe is born %v before", born.Sub(now))
	}
}

// The last byte of urgent data is not in the stream, unless the receiver has it in line.
func TestWriteUrgent(t *testing.T) {
	peer, ours := pair(t)
	if err := WriteUrgent(ours, []byte("ab!")); err != nil {
		t.Fatal(err)
	}
	_ = ours.CloseWrite()
	if got, err := io.ReadAll(peer); string(got) != "ab" || err != nil {
		t.Errorf("the peer reads %q, %v", got, err)
	}
	// A wrapper, such as TLS, has to get all of it.
	peer, ours = pair(t)
	if err := WriteUrgent(around{ours}, []byte("ab!")); err != nil {
		t.Fatal(err)
	}
	_ = ours.CloseWrite()
	if got, err := io.ReadAll(peer); string(got) != "ab!" || err != nil {
		t.Errorf("through a wrapper the peer reads %q, %v", got, err)
	}
}

// Waiting and Queued tell what accept would return.
func TestQueue(t *testing.T) {
	l, err := Network{}.ListenData(AnyPort(AddrPort(listenLoopback(t).Addr()).Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if Waiting(l) {
		t.Error("somebody waits in the beginning")
	}
	var peers [2]*net.TCPConn
	for i := range peers {
		peers[i] = dialLoopback(t, l.Addr())
	}
	eventually(t, "a connection waits", func() bool { return Waiting(l) })
	var conns []net.Conn
	eventually(t, "both are queued", func() bool {
		conns = append(conns, l.(interface{ Queued() []net.Conn }).Queued()...)
		return len(conns) == len(peers)
	})
	for i, conn := range conns {
		defer conn.Close()
		if _, err := peers[i].Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		got := make([]byte, 1)
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, []byte{1}) {
			t.Errorf("connection %d: %v, %v", i, got, err)
		}
		if option(t, conn.(*net.TCPConn), unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 1 {
			t.Errorf("connection %d has no keepalive", i)
		}
	}
	if Waiting(l) {
		t.Error("somebody waits in the end")
	}
}
