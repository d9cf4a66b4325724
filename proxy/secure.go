package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"ftproxy/internal/portpool"
	"ftproxy/internal/splice"
)

// A protection makes data connections protected ones. nil makes nothing of them.
type protection struct {
	// shake begins TLS on a connection. The client of FTP is the client of TLS,
	// whoever has connected to whom (RFC 4217 §7).
	shake func(net.Conn) *tls.Conn
	check func(*tls.Conn) error // that the peer is the right one; nil: it is
	limit time.Duration         // for the handshake, once the server has accepted the transfer
	// strictEOF: what ends without close_notify is aborted.
	strictEOF bool
}

// Why a protected data connection is not the session's.
var (
	errNotReused     = errors.New("the data connection does not resume the TLS session of its control connection")
	errOtherIdentity = errors.New("the data connection has another client certificate than its control connection")
)

// clientProtection is that of the client's data connections as they are now.
func (s *session) clientProtection() *protection {
	if !s.protects() {
		return nil
	}
	p := &protection{limit: s.rt.timeouts.TLSHandshake, strictEOF: s.fe.tls.strictEOF}
	var owner *uint64
	p.shake = func(conn net.Conn) *tls.Conn {
		var c *tls.Config
		c, owner = s.dataConfig()
		return tls.Server(splice.Batch(prompt(conn)), c)
	}
	reuses, id, certified := s.fe.tls.requireReuse, s.id, s.security.certified
	p.check = func(conn *tls.Conn) error {
		cs := conn.ConnectionState()
		switch {
		case reuses && owner != nil && (!cs.DidResume || *owner != id): // Without an owner it was identified before.
			return errNotReused
		case certified != nil && (len(cs.PeerCertificates) == 0 || !cs.PeerCertificates[0].Equal(certified)):
			return errOtherIdentity // RFC 4217 §15.1, H78.
		}
		return nil
	}
	return p
}

// serverProtection is that of the server's data connections as they are now. It
// resumes the control connection's session: the servers that insist on that are
// vsftpd (require_ssl_reuse), ProFTPD and FileZilla Server (H73).
func (s *session) serverProtection() *protection {
	if s.security.server == nil || s.security.serverLevel != 'P' {
		return nil
	}
	c := s.security.server
	return &protection{limit: s.rt.timeouts.TLSHandshake, strictEOF: s.fe.backend.tls.strictEOF, shake: func(conn net.Conn) *tls.Conn { return tls.Client(splice.Batch(prompt(conn)), c) }}
}

// secure makes the connection of a leg a protected one, where it is to be one. The
// peer may take its time until the transfer is accepted: some begin only then
// (H72). It takes over conn.
func (t *transfer) secure(ctx context.Context, at side, conn net.Conn) (net.Conn, error) {
	p := t.protection[at]
	if p == nil {
		return conn, nil
	}
	if at == clientSide {
		t.clientHere.Store(true)
	}
	secured, done := conn.(*tls.Conn)
	if !done {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		t.spawn(func() { t.limitHandshake(ctx, cancel, p.limit) })
		secured = p.shake(conn)
		if err := secured.HandshakeContext(ctx); err != nil {
			splice.Reset(conn)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		settle(secured)
	}
	if p.check != nil {
		if err := p.check(secured); err != nil {
			splice.Reset(conn)
			return nil, err
		}
	}
	return secured, nil
}

// limitHandshake bounds a handshake from when the transfer is accepted.
func (t *transfer) limitHandshake(ctx context.Context, cancel context.CancelCauseFunc, limit time.Duration) {
	select {
	case <-t.accepted:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
		cancel(errNoHandshake)
	case <-ctx.Done():
	}
}

// identifies tells whether the client's data connections have to tell whose they are.
func (s *session) identifies() bool {
	return s.fe.dataProxyProtocol || s.fe.tls.reuses() && s.protects()
}

// identifyData tells whose data connection has arrived at a port of a session: by
// its PROXY header, and where it must resume a TLS session, by that.
func (s *session) identifyData(conn net.Conn) (net.Conn, portpool.Identity, error) {
	from := direct(conn)
	if s.fe.dataProxyProtocol {
		var err error
		if from, err = s.fe.identify(s.p.cut, conn, s.rt.timeouts.ProxyHeader); err == nil && !from.proxy.IsValid() {
			err = errHeaderLocal
		}
		if err != nil {
			s.p.refuseHeader(conn, s.fe, "data", err)
			return nil, portpool.Identity{}, err
		}
		conn = proxiedConn{conn, net.TCPAddrFromAddrPort(from.client)}
	}
	who := portpool.Identity{Peer: from.client.Addr()}
	if !s.fe.tls.reuses() || !s.protects() {
		return conn, who, nil
	}
	secured, owner, err := s.identifyTLS(conn)
	if err != nil {
		s.p.refuseReuse(s.fe, from.client, err)
		return nil, who, err
	}
	who.Owner = owner
	return secured, who, nil
}

// identifyTLS makes the handshake of a data connection that has to resume the TLS
// session of some control connection, and tells whose. The client may begin it
// only after the 150 that the server sends meanwhile.
func (s *session) identifyTLS(conn net.Conn) (*tls.Conn, uint64, error) {
	_ = conn.SetReadDeadline(time.Now().Add(s.rt.timeouts.DataConnect))
	if err := peek(bare(conn)); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errNoHandshake, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeoutCause(s.p.cut, s.rt.timeouts.TLSHandshake, errNoHandshake)
	defer cancel()
	c, owner := s.dataConfig()
	secured := tls.Server(splice.Batch(prompt(conn)), c)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, 0, fmt.Errorf("TLS handshake: %w", err)
	}
	settle(secured)
	if !secured.ConnectionState().DidResume || *owner == 0 {
		return nil, 0, errNotReused
	}
	return secured, *owner, nil
}

// refuseReuse counts and logs a data connection that does not prove whose it is.
func (p *Process) refuseReuse(fe *frontend, client netip.AddrPort, err error) {
	p.metrics.DataReuseRefused(fe.name)
	p.log.Warn().Err(err).Str("frontend", fe.name).Stringer("client", client).Msg("data connection without its TLS session refused")
}
