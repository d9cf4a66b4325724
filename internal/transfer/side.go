package transfer

import "errors"

// A Side is a side of the proxy, where something goes wrong.
type Side int

const (
	NoSide Side = iota
	ClientSide
	ServerSide
	ProxySide
)

// String is the side's name in logs and metrics.
func (s Side) String() string {
	return [...]string{NoSide: "", ClientSide: "client", ServerSide: "server", ProxySide: "proxy"}[s]
}

// A Direction is where the payload goes, as the client sees it.
type Direction int

const (
	NoData Direction = iota
	Download
	Upload
)

// String is the direction's name in logs and metrics.
func (d Direction) String() string {
	if d == Upload {
		return "upload"
	}
	return "download"
}

// A cause is why a transfer is given up by whoever began it, and whose doing that is.
type cause struct {
	text string
	side Side
	// unused: no data can have moved, so nothing can look like a complete file.
	unused bool
}

func (c *cause) Error() string { return c.text }

// What Abort is given.
var (
	ErrAborted     error = &cause{text: "aborted by the client's ABOR", side: ClientSide}
	ErrClientGone  error = &cause{text: "the client's control connection is gone", side: ClientSide}
	ErrServerGone  error = &cause{text: "the server's control connection is gone", side: ServerSide}
	ErrServerError error = &cause{text: "the server's final reply is an error", side: ServerSide}
	ErrRefused     error = &cause{text: "the server refuses the transfer", side: ServerSide, unused: true}
	ErrUnused      error = &cause{text: "data connection not used", side: ClientSide, unused: true}
	ErrDataConnect error = &cause{text: "no data connection in time", side: ServerSide}
	ErrSessionEnd  error = &cause{text: "the session ended", side: ProxySide}
)

// blame says whose doing an abort was that no leg caused.
func blame(err error) Side {
	if c, ok := errors.AsType[*cause](err); ok {
		return c.side
	}
	return ProxySide
}

// errDropped is a server that closes its data connection after a refusal.
var errDropped = errors.New("the server has closed the data connection of a transfer that it refused")

// carriedNothing tells whether a leg ends for a reason that is no transfer's: there is
// none that could look complete.
func carriedNothing(at Side, why error) bool {
	c, ok := errors.AsType[*cause](why)
	return ok && c.unused || at == ClientSide && errors.Is(why, errDropped)
}
