// Package proxyheader reads and writes the headers of the PROXY protocol, versions 1
// and 2 (HAProxy's proxy-protocol.txt): a proxy says in the first bytes of a connection
// whose it is. Who may say so, and what it means, is not known here.
package proxyheader

import (
	"errors"
	"net/netip"
)

// A Header is what a proxy says of a connection.
type Header struct {
	// Own means that the connection is the proxy's own (LOCAL, UNKNOWN), such as a
	// health check. Then the header says nothing else.
	Own bool

	Source      netip.AddrPort // of the connection that the proxy passes on: the client
	Destination netip.AddrPort // where the client reached the proxy

	// What only version 2 has, each "" where it is not said.
	Authority string // the host name that the client asked for (SNI)
	UniqueID  string // the proxy's name for the connection
	TLS       string // the version of TLS between client and proxy, as "TLSv1.3"; never written
}

// Why a connection has no usable header. Errors of [Read] wrap one of them, and the
// error of the connection, if there was one.
var (
	ErrMissing = errors.New("no PROXY header")
	ErrInvalid = errors.New("invalid PROXY header")
)
