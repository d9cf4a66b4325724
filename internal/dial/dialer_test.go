package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ftproxy/config"
	"ftproxy/internal/control"
	"ftproxy/internal/ftp"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
)

// A dialer needs no session.
func TestDialer(t *testing.T) {
	for _, tt := range []struct {
		name, header, says string
		want               error
	}{
		{name: "greets", says: "220-Hello\r\n220 there\r\n"},
		{name: "asks for patience", says: "120 Soon.\r\n220 Hello\r\n"},
		{name: "gets a header", header: "PROXY UNKNOWN\r\n", says: "220 Hello\r\n"},
		{name: "refuses", says: "421 Full.\r\n", want: errGreeting},
		{name: "speaks no FTP", says: "SSH-2.0-server\r\n", want: ftp.ErrReplySyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			heard := make(chan string, 1)
			go greetOnce(l, len(tt.header), tt.says, heard)
			defer func() {
				_ = l.Close()
				if got := <-heard; got != tt.header {
					t.Errorf("the server heard %q; want %q", got, tt.header)
				}
			}()
			at := l.Addr().(*net.TCPAddr).AddrPort()
			d := Dialer{
				Network: tcp.Network{}, Metrics: metrics.New("test"), Backend: Backend{Name: "b"}, Header: []byte(tt.header),
				Timeouts: &config.Timeouts{Connect: 5 * time.Second, Greeting: 5 * time.Second},
			}
			sv, err := d.Dial(t.Context(), "127.0.0.1", at)
			if !errors.Is(err, tt.want) {
				t.Fatalf("dial: %v; want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			defer sv.Conn.Close()
			if sv.Addr != at || sv.Local != tcp.AnyPort(netip.MustParseAddr("127.0.0.1")) || sv.Greeting.Code != 220 {
				t.Errorf("the server is at %v, we at %v, its greeting %+v", sv.Addr, sv.Local, sv.Greeting)
			}
		})
	}
}

// greetOnce reads n bytes from one connection, says a text and waits for its end.
func greetOnce(l net.Listener, n int, says string, heard chan<- string) {
	conn, err := l.Accept()
	if err != nil {
		heard <- err.Error()
		return
	}
	defer conn.Close()
	header := make([]byte, n)
	_, _ = io.ReadFull(conn, header)
	_, _ = conn.Write([]byte(says))
	heard <- string(header)
	_, _ = conn.Read(make([]byte, 1))
}

// A leavingConn is a server's whose client leaves while the n-th read deadline is being
// set. What that makes others set in the meantime comes before it.
type leavingConn struct {
	net.Conn
	n     int
	leave context.CancelFunc
}

func (c *leavingConn) SetReadDeadline(at time.Time) error {
	if at.After(time.Now()) {
		if c.n--; c.n == 0 {
			c.leave()
			time.Sleep(time.Millisecond)
		}
	}
	return c.Conn.SetReadDeadline(at)
}

// A client that leaves ends the wait for a greeting, at whatever moment it leaves.
func TestLeftBeforeGreeting(t *testing.T) {
	for n := 1; n <= 2; n++ {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				_, _ = io.WriteString(far, "120 Soon.\r\n")
				_, _ = io.Copy(io.Discard, far)
			}()
			ctx, leave := context.WithCancel(t.Context())
			began := time.Now()
			conn := &leavingConn{Conn: near, n: n, leave: leave}
			err := Dialer{Timeouts: &config.Timeouts{Greeting: time.Hour}}.readGreeting(ctx,
				&Server{Peer: control.Peer[ftp.ReplyLine]{Conn: conn, Reader: ftp.NewReplyReader(conn)}})
			if err == nil || time.Since(began) > time.Second {
				t.Errorf("leaving at deadline %d: %v after %s", n, err, time.Since(began))
			}
			_, _ = near.Close(), far.Close()
		})
	}
}
