package tcp

import (
	"net"
	"testing"
	"time"
)

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

func listenLoopback(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dialLoopback(t *testing.T, to net.Addr) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// pair is the two ends of a connection, the second of which was accepted.
func pair(t *testing.T) (peer, ours *net.TCPConn) {
	t.Helper()
	l := listenLoopback(t)
	peer = dialLoopback(t, l.Addr())
	ours, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	_ = ours.SetDeadline(time.Now().Add(patience))
	_ = peer.SetDeadline(time.Now().Add(patience))
	return peer, ours
}

// eventually waits until the kernel has done what it does a moment later.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
