package proxy

import (
	"ftproxy/internal/dial"
	"ftproxy/internal/listeners"
)

// A Network is where a process listens and dials. [tcp.Network] is the real one;
// tests give a fake one.
type Network interface {
	dial.Network
	listeners.Network
}
