package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// serverPath is where an administrator says what a server is to do: POST, with the
// parameters backend, server and state.
const serverPath = "/v1/server"

// A ServerStatus is one address of a server of a backend.
type ServerStatus struct {
	Backend  string            `json:"backend"`
	Server   string            `json:"server"`  // as the configuration calls it
	Address  string            `json:"address"` // address:port
	State    string            `json:"state"`   // up, drain or down
	By       string            `json:"by,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Since    *time.Time        `json:"since,omitempty"` // nil: since it is known
	Sessions int               `json:"sessions"`
	Limit    int               `json:"limit"`  // of sessions; 0: none
	Weight   float64           `json:"weight"` // now
	Backup   bool              `json:"backup"` // used while no other works
	Removed  bool              `json:"removed"`
	Failures map[string]uint64 `json:"failures,omitempty"` // of sessions, by kind
	Greeting float64           `json:"greeting_seconds"`   // the last one
	Check    *CheckStatus      `json:"check"`              // nil: there was none
	Agent    *CheckStatus      `json:"agent"`
}

// A CheckStatus is what came of the last check of a server.
type CheckStatus struct {
	At    time.Time `json:"at"`
	Took  float64   `json:"took_seconds"`
	Text  string    `json:"text,omitempty"`
	Error string    `json:"error,omitempty"` // empty: it succeeded
}

// A ServerSet is what came of an administrator's word on a server.
type ServerSet struct {
	Servers []ServerStatus `json:"servers"` // its addresses
}

// SetServer says what a server is to do: state is ready, drain or down.
func (c *Client) SetServer(ctx context.Context, backend, server, state string) (ServerSet, error) {
	var done ServerSet
	q := url.Values{"backend": {backend}, "server": {server}, "state": {state}}
	return done, c.ask(ctx, http.MethodPost, serverPath+"?"+q.Encode(), &done)
}

func serveServer(a Actions) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		done, err := a.SetServer(q.Get("backend"), q.Get("server"), q.Get("state"))
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		done.Servers = list(done.Servers)
		answerJSON(w, http.StatusOK, done)
	}
}
