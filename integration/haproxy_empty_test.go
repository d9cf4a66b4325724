package integration

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestHAProxyEmptyUpload: HAProxy alone, without ftproxy, resets some connections that a
// client closes at once, as it does with a file of no bytes. So such an upload may fail
// with 426, and TestStress does not blame ftproxy for it. A connection that carried data
// always ends in order.
func TestHAProxyEmptyUpload(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	listen, err := net.Listen("tcp", netip.AddrPortFrom(p.server, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	var whole, reset atomic.Int64
	go func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, err := io.Copy(io.Discard, conn)
				if errors.Is(err, syscall.ECONNRESET) {
					reset.Add(1)
				} else {
					whole.Add(1)
				}
			}()
		}
	}()
	h := startHAProxy(t, p, listen.Addr().(*net.TCPAddr).AddrPort(), haproxyConfig{send: "send-proxy-v2"})
	visit := func(text string) {
		t.Helper()
		conn, err := dialFrom(t.Context(), p.client, h.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	const times = 200
	for range times {
		visit("x")
	}
	waitFor(t, "the uploads of one byte are over", patience, func() bool { return whole.Load() == times })
	if n := reset.Load(); n > 0 {
		t.Errorf("%d uploads of one byte were reset", n)
	}
	for end := time.Now().Add(patience); reset.Load() == 0; {
		if visit(""); time.Now().After(end) {
			t.Fatal("HAProxy has reset no connection: TestStress must not make an exception for it any more")
		}
	}
}
