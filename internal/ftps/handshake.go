package ftps

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"ftproxy/internal/tcp"
)

// ErrNoHandshake is why a handshake that took too long failed, on either side.
var ErrNoHandshake = errors.New("no TLS handshake in time")

// Handshake makes the handshake of a connection, at most for the time given and until ctx
// ends, whose cause is the error then. A handshake that is given up closes the connection.
func Handshake(ctx context.Context, conn *tls.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrNoHandshake)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Accept makes a client's control connection a protected one, as Handshake does.
func Accept(ctx context.Context, conn net.Conn, c *tls.Config, limit time.Duration) (*tls.Conn, error) {
	secured := tls.Server(tcp.Prompt(conn), c)
	if err := Handshake(ctx, secured, limit); err != nil {
		return nil, err
	}
	tcp.Settle(secured)
	return secured, nil
}
