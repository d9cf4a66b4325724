// Package admin serves what an administrator's programs ask of a running
// ftproxy: /metrics for Prometheus, /healthz and /readyz for whatever watches
// and balances it. It asks for no password, so it listens on loopback only.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
)

// ErrNotLoopback refuses a listening address that others could reach.
var ErrNotLoopback = errors.New("the admin address must be on loopback")

// A scrape takes milliseconds; these bound what a silent or slow peer holds.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// A Server listens on the admin address from New to Close.
type Server struct {
	http     *http.Server
	listener net.Listener
	served   chan struct{} // closed when serve has returned
	limit    connLimit
}

// New listens on a loopback address (port 0: any free one) and answers there
// until Close, on MaxConns connections at most. metrics answers /metrics; ready
// says whether new clients are welcome. Both are asked from any goroutine.
//
// An address that is not on loopback gets ErrNotLoopback; other errors are the
// network's.
func New(listen netip.AddrPort, metrics http.Handler, ready func() bool, logger zerolog.Logger) (*Server, error) {
	if !listen.Addr().Unmap().IsLoopback() {
		return nil, fmt.Errorf("%s: %w", listen, ErrNotLoopback)
	}
	listener, err := net.Listen("tcp", listen.String())
	if err != nil {
		return nil, err
	}
	s := &Server{
		http: &http.Server{
			Handler:           routes(metrics, ready),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          log.New(lineWriter{logger}, "", 0),
		},
		listener: listener,
		served:   make(chan struct{}),
	}
	s.http.ConnState = s.limit.follow
	go s.serve(logger)
	return s, nil
}

// Addr is the address that New listens on.
func (s *Server) Addr() netip.AddrPort {
	return s.listener.Addr().(*net.TCPAddr).AddrPort()
}

// Close stops listening, lets running requests end until ctx does, cuts the
// rest, and returns when nothing of the server is left. It is safe to repeat.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	return err
}

func (s *Server) serve(logger zerolog.Logger) {
	defer close(s.served)
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		logger.Error().Err(err).Msg("admin address lost")
	}
}

func routes(metrics http.Handler, ready func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ready() {
			answer(w, http.StatusOK, "ok")
			return
		}
		answer(w, http.StatusServiceUnavailable, "draining")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a peer that is gone needs no answer
}

// A lineWriter takes the lines of net/http's logger.
type lineWriter struct{ log zerolog.Logger }

func (w lineWriter) Write(line []byte) (int, error) {
	w.log.Warn().Str("detail", string(line)).Msg("admin request failed")
	return len(line), nil
}
