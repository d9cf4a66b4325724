package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"slices"
	"time"

	"github.com/rs/zerolog"
)

// maxControlBody bounds a request's body in bytes. No request needs one.
const maxControlBody = 4 << 10

// A ControlServer answers at the control socket from ListenControl to Close.
// Whom it lets in is the business of the socket's mode, 0660: its user and group.
type ControlServer struct {
	http   *http.Server
	socket *controlSocket
	served chan struct{} // closed when serve has returned
}

// ListenControl makes a Unix socket at path and passes what is asked there to a.
//
// A socket at path that nobody answers is replaced. One that is answered gets
// ErrControlInUse, anything else at path ErrNotSocket. Where the directory is
// missing or closed, the error is fs.ErrNotExist or fs.ErrPermission, with what
// to do about it.
func ListenControl(path string, a Actions, logger zerolog.Logger) (*ControlServer, error) {
	socket, err := listenSocket(path)
	if err != nil {
		return nil, err
	}
	s := &ControlServer{socket: socket, served: make(chan struct{})}
	s.http = s.answering(a, logger)
	go s.serve(logger)
	return s, nil
}

// Path is where the socket is.
func (s *ControlServer) Path() string { return s.socket.path }

// Gone tells whether somebody has removed or replaced the socket at Path, so that
// no client finds this server any more.
func (s *ControlServer) Gone() bool { return s.socket.gone() }

// Close removes the socket, unless another one has taken its path. It takes no
// more requests and lets running ones end and be answered until ctx does; then it
// cuts them, which ends their contexts, and does not wait for what they have
// called of Actions. So a call of Close from within Actions waits for itself
// until ctx ends. It is safe to repeat.
func (s *ControlServer) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	return err
}

// leave removes the socket and takes no more requests; running ones go on. So who
// hears that the service has left can start another at the same path.
func (s *ControlServer) leave() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.http.Shutdown(ended) // says context.Canceled: the request that calls runs
}

func (s *ControlServer) serve(logger zerolog.Logger) {
	defer close(s.served)
	if err := s.http.Serve(s.socket); !errors.Is(err, http.ErrServerClosed) {
		logger.Error().Err(err).Str("socket", s.socket.path).Msg("control socket lost")
	}
}

func (s *ControlServer) answering(a Actions, logger zerolog.Logger) *http.Server {
	return &http.Server{ // Without WriteTimeout: a drain takes as long as the longest transfer.
		Handler:           s.routes(a),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(lineWriter{logger}, "", 0),
	}
}

// routes answers requests, whose contexts end with their connection.
func (s *ControlServer) routes(a Actions) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+reloadPath, func(w http.ResponseWriter, r *http.Request) {
		done, err := a.Reload(r.Context())
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		done.Changes = list(done.Changes)
		answerJSON(w, http.StatusOK, done)
	})
	mux.HandleFunc("POST "+drainPath, func(w http.ResponseWriter, r *http.Request) {
		done, err := a.Drain(r.Context())
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, err)
			return
		}
		s.leave()
		answerJSON(w, http.StatusOK, done)
	})
	mux.HandleFunc("POST "+serverPath, serveServer(a))
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, _ *http.Request) {
		st := a.Status()
		st.Frontends, st.Servers, st.Ranges = list(slices.Clone(st.Frontends)), list(st.Servers), list(st.Ranges)
		for i := range st.Frontends {
			st.Frontends[i].Listen = list(st.Frontends[i].Listen)
		}
		answerJSON(w, http.StatusOK, st)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var long *http.MaxBytesError
		switch _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxControlBody)); {
		case errors.As(err, &long):
			refuse(w, http.StatusRequestEntityTooLarge, err)
			return
		case err != nil:
			refuse(w, http.StatusBadRequest, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// list makes an empty list of one that is nil: programs that read JSON expect [].
func list[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

func refuse(w http.ResponseWriter, status int, err error) {
	answerJSON(w, status, refusalBody{err.Error()})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ") // for people with curl --unix-socket
	_ = e.Encode(v)       // a peer that is gone needs no answer
}
