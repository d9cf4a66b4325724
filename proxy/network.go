package proxy

import (
	"ftproxy/internal/dial"
	"ftproxy/internal/listeners"
	"ftproxy/internal/tcp"
)

// A Network is where a process listens and dials. [tcp.Network] is the real one;
// tests give a fake one.
type Network interface {
	dial.Network
	listeners.Network
	// MayBind tells whether this process may dial from local, of which the
	// address or the port may be missing.
	MayBind(local tcp.Local) error
}
