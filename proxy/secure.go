package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"ftproxy/internal/logline"
	"ftproxy/internal/splice"
	"ftproxy/internal/tcp"
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

// protections are those of the next data connections; nil where all is in the clear,
// which costs a transfer nothing.
func (s *session) protections() map[side]*protection {
	client, server := s.clientProtection(), s.serverProtection()
	if client == nil && server == nil {
		return nil
	}
	return map[side]*protection{clientSide: client, serverSide: server}
}

// clientProtection is that of the client's data connections as they are now.
func (s *session) clientProtection() *protection {
	if !s.client.protects() {
		return nil
	}
	front, keys := s.fe.tls, s.p.tickets.All()
	p := &protection{limit: s.rt.timeouts.TLSHandshake, strictEOF: front.strictEOF}
	var owner *uint64
	p.shake = func(conn net.Conn) *tls.Conn {
		var c *tls.Config
		c, owner = front.dataConfig(keys)
		return tls.Server(splice.Batch(tcp.Prompt(conn)), c)
	}
	reuses, id, certified := front.requireReuse, s.id, s.client.security.certified
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
	if s.server.tlsConfig == nil || s.server.level != 'P' {
		return nil
	}
	c := s.server.tlsConfig
	return &protection{
		limit:     s.rt.timeouts.TLSHandshake,
		strictEOF: s.backend.tls.strictEOF,
		shake:     func(conn net.Conn) *tls.Conn { return tls.Client(splice.Batch(tcp.Prompt(conn)), c) },
	}
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
	} else {
		t.serverHere.Store(true)
	}
	secured, done := conn.(*tls.Conn)
	if !done {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		t.spawn(func() { t.limitHandshake(ctx, cancel, p.limit) })
		secured = p.shake(conn)
		if err := handshake(ctx, secured); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if carriedNothing(at, err) {
				t.partLater(conn) // It may begin TLS at any time.
			} else { // This must not look like the end of an empty file.
				tcp.Reset(conn)
			}
			return nil, fmt.Errorf("TLS handshake: %w", logline.PeerError(err))
		}
		tcp.Settle(secured)
	}
	if p.check != nil {
		if err := p.check(secured); err != nil {
			tcp.Reset(conn)
			return nil, err
		}
	}
	return secured, nil
}

// handshake makes a handshake until ctx ends. The connection stays open then: tls's own
// way is to close it, and how it is to be closed depends on why.
func handshake(ctx context.Context, secured *tls.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = secured.SetDeadline(time.Unix(1, 0)) })
	err := secured.HandshakeContext(context.WithoutCancel(ctx))
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return err
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
