package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

func start(t *testing.T, ready func() bool) *Server {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ftproxy_events_total 3\n")
	})
	s, err := New(netip.MustParseAddrPort("127.0.0.1:0"), metrics, ready, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func request(t *testing.T, s *Server, method, path string) (int, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	a, err := transport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(body)
}

func TestAnswers(t *testing.T) {
	s := start(t, func() bool { return true })
	tests := []struct {
		method, path string
		status       int
		body         string // part of it
	}{
		{"GET", "/healthz", 200, "ok\n"},
		{"HEAD", "/healthz", 200, ""},
		{"GET", "/readyz", 200, "ok\n"},
		{"GET", "/metrics", 200, "ftproxy_events_total 3\n"},
		{"POST", "/metrics", 405, ""},
		{"GET", "/", 404, ""},
		{"GET", "/metrics/x", 404, ""},
	}
	for _, tt := range tests {
		status, body := request(t, s, tt.method, tt.path)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s %s = %d %q; want %d with %q", tt.method, tt.path, status, body, tt.status, tt.body)
		}
	}
}

// A draining process is healthy (do not restart it) and not ready (send nobody).
func TestReadyzWhileDraining(t *testing.T) {
	var draining atomic.Bool
	s := start(t, func() bool { return !draining.Load() })
	if status, _ := request(t, s, "GET", "/readyz"); status != 200 {
		t.Errorf("before: %d, want 200", status)
	}
	draining.Store(true)
	if status, body := request(t, s, "GET", "/readyz"); status != 503 || body != "draining\n" {
		t.Errorf("draining: %d %q, want 503", status, body)
	}
	if status, _ := request(t, s, "GET", "/healthz"); status != 200 {
		t.Errorf("healthz while draining: %d, want 200", status)
	}
}

func TestListenRefused(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"} {
		s, err := New(netip.MustParseAddrPort(listen), http.NotFoundHandler(), nil, zerolog.Nop())
		if !errors.Is(err, ErrNotLoopback) {
			t.Errorf("New(%q) = %v, %v; want ErrNotLoopback", listen, s, err)
		}
	}
	if _, err := New(netip.AddrPort{}, http.NotFoundHandler(), nil, zerolog.Nop()); !errors.Is(err, ErrNotLoopback) {
		t.Errorf("New of no address: %v; want ErrNotLoopback", err)
	}
}

func TestPortInUse(t *testing.T) {
	s := start(t, nil)
	_, err := New(s.Addr(), http.NotFoundHandler(), nil, zerolog.Nop())
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second server: %v, want EADDRINUSE", err)
	}
}

// Close cuts a request that does not end, and then nobody listens any more.
func TestClose(t *testing.T) {
	s := start(t, nil)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\n"); err != nil { // and never more
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Close(ended) // says context.Canceled, when it saw the open connection
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("open request: %v", err)
	}
	if c, err := net.Dial("tcp", s.Addr().String()); err == nil {
		c.Close()
		t.Error("still listening after Close")
	}
}
