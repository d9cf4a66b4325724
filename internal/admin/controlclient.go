package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
)

// Why a request got no answer.
var (
	ErrNotReachable = errors.New("cannot reach the service")
	ErrUnanswered   = errors.New("the service ended without saying how")
)

// A Refusal is the service's no.
type Refusal struct {
	Text string // why, with one line for each fault
}

func (r *Refusal) Error() string { return r.Text }

// maxAnswer bounds an answer in bytes; a status of ten thousand frontends has less.
const maxAnswer = 16 << 20

// A Client asks a service by its control socket. Its methods may be called at
// the same time. They return ErrNotReachable with what to do about it,
// ErrUnanswered, a *Refusal, or the cause that ended ctx.
type Client struct {
	path string
	http *http.Transport
}

// DialControl returns a client for the control socket at path. Each request
// connects anew, and the first one finds out whether somebody is there.
func DialControl(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Transport{DialContext: c.dial, DisableKeepAlives: true}
	return c
}

// Reload makes the service put the configuration in force that is in its file now.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	var done Reloaded
	return done, c.ask(ctx, http.MethodPost, reloadPath, &done)
}

// Drain makes the service leave, and waits until it has. If ctx ends before, the
// service leaves all the same.
func (c *Client) Drain(ctx context.Context) (Drained, error) {
	var done Drained
	return done, c.ask(ctx, http.MethodPost, drainPath, &done)
}

// Status returns what the service does now.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	return st, c.ask(ctx, http.MethodGet, statusPath, &st)
}

// StatusJSON returns the same as the service wrote it, which may have keys that
// Status does not know.
func (c *Client) StatusJSON(ctx context.Context) (json.RawMessage, error) {
	var raw json.RawMessage
	return raw, c.ask(ctx, http.MethodGet, statusPath, &raw)
}

func (c *Client) ask(ctx context.Context, method, path string, to any) error {
	q, err := http.NewRequestWithContext(ctx, method, "http://ftproxy"+path, nil)
	if err != nil {
		return err
	}
	a, err := c.http.RoundTrip(q)
	if err != nil {
		return c.unanswered(ctx, err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return c.unanswered(ctx, err)
	}
	if a.StatusCode != http.StatusOK {
		var no refusalBody
		if json.Unmarshal(body, &no) != nil || no.Error == "" {
			return c.foreign(fmt.Errorf("%s %s: HTTP status %d", method, path, a.StatusCode))
		}
		return &Refusal{no.Error}
	}
	if err := json.Unmarshal(body, to); err != nil {
		return c.foreign(err)
	}
	return nil
}

// unanswered says why there is no answer.
func (c *Client) unanswered(ctx context.Context, err error) error {
	var unreachable *unreachableError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &unreachable):
		return unreachable
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ErrUnanswered
	}
	return c.foreign(err)
}

// foreign says that whoever answers is no ftproxy, or one of another time.
func (c *Client) foreign(err error) error {
	return fmt.Errorf("what answers at %s is another release, or no ftproxy: %w", c.path, err)
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil && ctx.Err() == nil {
		return nil, &unreachableError{c.path, err}
	}
	return conn, err
}

// An unreachableError is ErrNotReachable with what to do about it.
type unreachableError struct {
	path  string
	cause error
}

func (e *unreachableError) Unwrap() []error { return []error{ErrNotReachable, e.cause} }

func (e *unreachableError) Error() string {
	why := bare(e.cause).Error()
	switch {
	case errors.Is(e.cause, fs.ErrNotExist):
		why = "there is no such socket: is ftproxy running, and did it start or reload with control.socket set to this path?"
	case isNoSocket(e.path): // for which Linux says ECONNREFUSED
		why = "it is not a socket"
	case errors.Is(e.cause, syscall.ECONNREFUSED):
		why = "nobody answers: ftproxy is not running (it replaces the socket when it starts)"
	case errors.Is(e.cause, fs.ErrPermission):
		why = fmt.Sprintf("permission denied: %s may use it, others with sudo", whoMay(e.path))
	}
	return fmt.Sprintf("%v at %s: %s", ErrNotReachable, e.path, why)
}

func isNoSocket(path string) bool {
	file, err := os.Stat(path)
	return err == nil && file.Mode().Type() != fs.ModeSocket
}

// whoMay names those whom a socket lets in.
func whoMay(path string) string {
	file, err := os.Stat(path)
	if err != nil {
		return "the user that ftproxy runs as" // a directory above is closed, too
	}
	if group := groupOf(file); group != "" {
		return "the user that ftproxy runs as and members of the group " + group
	}
	return "the user and the group that ftproxy runs as"
}
