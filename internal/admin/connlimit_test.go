package admin

import (
	"io"
	"net"
	"net/http"
	"testing"
)

// connect opens a connection to the admin address and says what.
func connect(t *testing.T, s *Server, what string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, what); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Whoever opens connections by the hundred takes no more than MaxConns descriptors, and
// keeps nobody from being answered.
func TestIdleConnectionsGoFirst(t *testing.T) {
	s := start(t, func() bool { return true })
	for _, what := range []string{"", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"} {
		closed := make(chan struct{}, 3*MaxConns)
		for range 3 * MaxConns {
			conn := connect(t, s, what)
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				closed <- struct{}{}
			}()
		}
		for range 2 * MaxConns {
			<-closed
		}
		if n := s.limit.count(); n > MaxConns {
			t.Errorf("after %q, %d connections are open", what, n)
		}
		if status, _ := request(t, s, "GET", "/readyz"); status != http.StatusOK {
			t.Errorf("after %q, /readyz is %d", what, status)
		}
	}
}

// A connection that is answered outlives those that say nothing.
func TestAnsweredConnectionStays(t *testing.T) {
	var l connLimit
	answered, idle := new(net.TCPConn), new(net.TCPConn)
	l.turned(answered, http.StateNew)
	l.turned(answered, http.StateActive)
	l.turned(idle, http.StateNew)
	for range MaxConns - 2 {
		if got := l.turned(new(net.TCPConn), http.StateNew); got != nil {
			t.Fatal("one was closed before there are too many")
		}
	}
	if got := l.turned(new(net.TCPConn), http.StateNew); got != idle {
		t.Error("the oldest idle one is not closed")
	}
	if got := l.turned(idle, http.StateActive); got != nil || l.count() != MaxConns {
		t.Error("one that is closed counts again")
	}
	l.turned(answered, http.StateIdle) // Now it is the youngest.
	if got := l.turned(new(net.TCPConn), http.StateNew); got == nil || got == answered {
		t.Error("the one that was answered last is closed")
	}
}

// Where all are answered the oldest goes, and not the newcomer.
func TestNewcomerStays(t *testing.T) {
	var l connLimit
	oldest := new(net.TCPConn)
	l.turned(oldest, http.StateNew)
	l.turned(oldest, http.StateActive)
	for range MaxConns - 1 {
		conn := new(net.TCPConn)
		l.turned(conn, http.StateNew)
		l.turned(conn, http.StateActive)
	}
	if got := l.turned(new(net.TCPConn), http.StateNew); got != oldest {
		t.Error("the oldest is not closed")
	}
}

func (l *connLimit) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}
