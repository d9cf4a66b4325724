package transfer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/splice"
	"ftproxy/internal/tcp"
)

// A Protection makes a leg's connection a protected one.
type Protection struct {
	// Begin begins TLS on a connection that is ready for it. The client of FTP is the
	// client of TLS, whoever has connected to whom (RFC 4217 §7).
	Begin func(net.Conn) *tls.Conn
	Check func(*tls.Conn) error // that the peer is the right one; nil: it is
	Limit time.Duration         // for the handshake, once the server has accepted the transfer
	// StrictEOF: what ends without close_notify is aborted.
	StrictEOF bool
}

// ReadyForTLS is what TLS on a data connection is made on.
func ReadyForTLS(conn net.Conn) net.Conn { return splice.Batch(tcp.Prompt(conn)) }

// protect makes the connection of a leg a protected one, where it is to be one. The
// peer may take its time until the transfer is accepted: some begin only then
// (H72). It takes over conn.
func (t *Transfer) protect(ctx context.Context, at Side, conn net.Conn) (net.Conn, error) {
	p := t.protection(at)
	if p == nil {
		return conn, nil
	}
	secured, done := conn.(*tls.Conn)
	if !done {
		secured = p.Begin(ReadyForTLS(conn))
		if err := t.handshake(ctx, secured, p.Limit); err != nil {
			if carriedNothing(at, err) {
				t.partLater(conn) // It may begin TLS at any time.
			} else { // This must not look like the end of an empty file.
				tcp.Reset(conn)
			}
			return nil, fmt.Errorf("TLS handshake: %w", logline.PeerError(err))
		}
		tcp.Settle(secured)
	}
	if p.Check != nil {
		if err := p.Check(secured); err != nil {
			tcp.Reset(conn)
			return nil, err
		}
	}
	return secured, nil
}

// handshake makes a handshake until ctx ends, or limit has passed since the transfer was
// accepted. The connection stays open then: tls's own way is to close it, and how it is
// to be closed depends on why.
func (t *Transfer) handshake(ctx context.Context, secured *tls.Conn, limit time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.options.Runner.Go(func() { t.limitHandshake(ctx, cancel, limit) })
	stop := context.AfterFunc(ctx, func() { _ = secured.SetDeadline(time.Unix(1, 0)) })
	err := secured.HandshakeContext(context.WithoutCancel(ctx))
	if !stop() || err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// limitHandshake bounds a handshake from when the transfer is accepted.
func (t *Transfer) limitHandshake(ctx context.Context, cancel context.CancelCauseFunc, limit time.Duration) {
	select {
	case <-t.accepted:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
		cancel(ftps.ErrNoHandshake)
	case <-ctx.Done():
	}
}
