package admin

import (
	"context"
	"errors"
	"time"
)

// Actions is what the control socket asks of the service. Its methods are called
// from any goroutine, and return soon after ctx has ended, whatever they wait for.
type Actions interface {
	// Reload puts the configuration in force that is in the file now. On an
	// error nothing has changed; its text, one line for each fault, goes to
	// whoever asked.
	Reload(ctx context.Context) (Reloaded, error)
	// Drain begins to leave service and returns when the service has left it.
	// That ctx ends means that nobody waits any more; the service leaves anyway.
	Drain(ctx context.Context) (Drained, error)
	Status() Status
	// SetServer is an administrator's word on a server: ready, drain or down. The error
	// says which servers there are.
	SetServer(backend, server, state string) (ServerSet, error)
}

// Reloaded is what came of a reload that was not refused.
type Reloaded struct {
	Changes  []string `json:"changes"`            // one line each
	Warnings []string `json:"warnings,omitempty"` // one line each
}

// Drained is how the service has left.
type Drained struct {
	Cut bool `json:"cut"` // something that ran had to be cut
}

// The states of a service.
const (
	Serving  = "serving"
	Draining = "draining" // takes no new clients and ends when the last has gone
)

// A Status is what the service does at one moment.
type Status struct {
	Version       string           `json:"version"`
	State         string           `json:"state"` // Serving or Draining
	PID           int              `json:"pid"`
	Started       time.Time        `json:"started"`
	Config        string           `json:"config"`        // the file; empty: there is none
	ConfiguredAt  time.Time        `json:"configured_at"` // when what is in force was put there
	LastReload    *ReloadStatus    `json:"last_reload"`   // nil: none yet
	Sessions      int              `json:"sessions"`
	SessionsOlder int              `json:"sessions_older"` // of these, with the rules of an earlier configuration
	SessionsLimit int              `json:"sessions_limit"`
	SessionsTotal int              `json:"sessions_total"` // since Started
	Transfers     int              `json:"transfers"`      // data connections agreed on or in use
	Frontends     []FrontendStatus `json:"frontends"`
	Servers       []ServerStatus   `json:"servers"`
	Ranges        []RangeStatus    `json:"port_ranges"` // those in use or waited for
	Descriptors   DescriptorStatus `json:"descriptors"`
}

// A ReloadStatus is what came of a reload, also of one that was refused.
type ReloadStatus struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"` // why not, with one line for each fault
}

// A FrontendStatus is a frontend in force.
type FrontendStatus struct {
	Name     string   `json:"name"`
	Backend  string   `json:"backend"`
	Listen   []string `json:"listen"`   // address:port, those that are open
	Sessions int      `json:"sessions"` // that live now
}

// A RangeStatus is a range of data ports at one local address. A port can be
// on loan to several peers at once, so Pending and Held may pass Size.
type RangeStatus struct {
	Address string `json:"address"`
	Ports   string `json:"ports"`   // "30000-30099"
	Size    int    `json:"size"`    // ports
	Pending int    `json:"pending"` // leases whose connection has not come
	Held    int    `json:"held"`    // leases whose connection has come and keeps the port
	Waiting int    `json:"waiting"` // requests that wait for a port
}

// A DescriptorStatus is how many files and sockets the process has open, and
// may have. 0 is unknown.
type DescriptorStatus struct {
	Used  int `json:"used"`
	Limit int `json:"limit"`
}

// A refusalBody is the answer to what was refused: the whole text, with newlines.
type refusalBody struct {
	Error string `json:"error"`
}

// The paths of the control socket's requests.
const (
	reloadPath = "/v1/reload" // POST
	drainPath  = "/v1/drain"  // POST
	statusPath = "/v1/status" // GET
)

// Why there is no control socket.
var (
	ErrControlInUse = errors.New("another ftproxy answers")
	ErrNotSocket    = errors.New("not a socket")
)
