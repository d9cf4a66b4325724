package splice

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// tcpPair returns the two ends of a loopback connection, closed with the test.
func tcpPair(t testing.TB) (ours, peer *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type accepted struct {
		conn net.Conn
		err  error
	}
	got := make(chan accepted, 1)
	go func() {
		c, err := l.Accept()
		got <- accepted{c, err}
	}()
	d, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := <-got
	if a.err != nil {
		t.Fatal(a.err)
	}
	t.Cleanup(func() { d.Close(); a.conn.Close() })
	return a.conn.(*net.TCPConn), d.(*net.TCPConn)
}

func TestNormal(t *testing.T) {
	destination, client := tcpPair(t)
	source, server := tcpPair(t)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	go func() {
		server.Write(payload)
		server.CloseWrite()
	}()
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(client)
		client.Close()
		got <- b
	}()
	c := New(destination, source, Options{Stall: 5 * time.Second})
	r := c.Run(t.Context())
	if r.Err != nil || r.Failed != None || r.Bytes != int64(len(payload)) {
		t.Fatalf("Run = %+v", r)
	}
	if !bytes.Equal(<-got, payload) {
		t.Error("payload differs")
	}
	c.Finish(5 * time.Second)
	if c.Spliced() != r.Bytes {
		t.Errorf("%d of %d bytes spliced", c.Spliced(), r.Bytes)
	}
}
