package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"ftproxy/internal/portpool"
	"ftproxy/internal/splice"
)

// An identifier tells whose the data connections at a port are: by their PROXY
// header, and where they have to resume a TLS session, by that. It runs before
// anybody knows for which session a connection is, so it has nothing of one but
// what sessions share that are identified alike.
type identifier struct {
	p         *Process
	fe        *frontend
	front     *frontTLS // nil: the TLS session tells nothing
	header    time.Duration
	handshake time.Duration
}

// maxUnknown bounds how many connections from a client's address are here for each
// data connection that it owes, before anybody knows whose they are.
const maxUnknown = 16

// identifier is that of the session's next data connection, or nil where its address
// tells enough.
func (s *session) identifier() *identifier {
	i := &identifier{p: s.p, fe: s.fe, header: s.rt.timeouts.ProxyHeader, handshake: s.rt.timeouts.TLSHandshake}
	if s.fe.tls.reuses() && s.protects() {
		i.front = s.fe.tls
	}
	if i.front == nil && !s.fe.dataProxyProtocol {
		return nil
	}
	return i
}

// alike is the same for identifiers that may stand in for each other.
func (i *identifier) alike() any {
	type key struct {
		front  *frontTLS
		header bool
	}
	return key{i.front, i.fe.dataProxyProtocol}
}

// identify is for portpool.Request.
func (i *identifier) identify(conn net.Conn) (net.Conn, portpool.Identity, error) {
	from := direct(conn)
	if i.fe.dataProxyProtocol {
		var err error
		if from, err = i.fe.identify(i.p.cut, conn, i.header); err == nil && !from.proxy.IsValid() {
			err = errHeaderLocal
		}
		if err != nil {
			i.p.refuseHeader(conn, i.fe, "data", err)
			return nil, portpool.Identity{}, err
		}
		conn = proxiedConn{conn, net.TCPAddrFromAddrPort(from.client)}
	}
	who := portpool.Identity{Peer: from.client.Addr()}
	if i.front == nil {
		return conn, who, nil
	}
	secured, owner, err := i.resume(conn)
	if err != nil {
		i.refuse(from.client, err)
		return nil, who, err
	}
	who.Owner = owner
	return secured, who, nil
}

// resume makes the handshake of a data connection that has to resume the TLS session
// of some control connection, and tells whose. The client may begin it only after
// the 150 that the server sends meanwhile; until then the connection is here as
// long as somebody waits for one on its port.
func (i *identifier) resume(conn net.Conn) (*tls.Conn, uint64, error) {
	if err := peek(bare(conn)); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeoutCause(i.p.cut, i.handshake, errNoHandshake)
	defer cancel()
	c, owner := i.front.dataConfig(i.p.tickets.all())
	secured := tls.Server(splice.Batch(prompt(conn)), c)
	if err := secured.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, 0, fmt.Errorf("TLS handshake: %w", peerError{err})
	}
	settle(secured)
	if !secured.ConnectionState().DidResume || *owner == 0 {
		return nil, 0, errNotReused
	}
	return secured, *owner, nil
}

// refuse counts and logs a data connection that does not prove whose it is. One that
// only ended, or that nobody waits for any more, is nobody's attempt at anything.
func (i *identifier) refuse(client netip.AddrPort, err error) {
	for _, harmless := range []error{io.EOF, net.ErrClosed, syscall.ECONNRESET, ErrShutdown} {
		if errors.Is(err, harmless) {
			i.p.log.Debug().Err(err).Str("frontend", word(i.fe.name)).Stringer("client", client).Msg("data connection ended before its TLS handshake")
			return
		}
	}
	i.p.metrics.DataReuseRefused(i.fe.name)
	i.p.often(notReused, i.fe.name, "", client.Addr()).Err(err).Str("frontend", word(i.fe.name)).Stringer("client", client).Msg(notReused.message)
}
