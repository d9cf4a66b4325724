package transfer

import (
	"net/netip"
	"time"
)

// A Record is all that is told of a transfer that has ended: in the log, the metrics
// and wherever else somebody asks.
type Record struct {
	Session           string
	Client, Server    netip.AddrPort // of the control connections
	Frontend, Backend string
	User, Verb, Path  string // the client's, as they may be shown
	Direction         Direction
	Modes             Modes
	Accepted          bool   // the server let the data flow
	Code              int    // of the final reply that the client got
	Outcome           string // see OK and Refused; or the side that failed
	ClientGone        bool   // the client's control connection had ended: an upload may be a part of a file
	Result
}

// What a Record's Outcome is, besides a side.
const (
	OK      = "ok"
	Refused = "refused" // by the server, before any data
)

// Duration is how long the data took, from the server's 1xx on.
func (r *Record) Duration() time.Duration {
	if r.Began.IsZero() {
		return 0
	}
	return r.Ended.Sub(r.Began)
}
