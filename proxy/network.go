package proxy

import (
	"ftproxy/internal/binds"
	"ftproxy/internal/listeners"
	"ftproxy/internal/servers"
)

// A Network is where a process listens and dials. [tcp.Network] is the real one;
// tests give a fake one.
type Network interface {
	binds.Network
	servers.Network
	listeners.Network
}
