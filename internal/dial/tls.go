package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/tcp"
)

// FTPS towards servers (RFC 4217): ftproxy is the client.

// ErrProtection is a server that refuses what its backend wants protected. Nothing
// goes on in the clear instead.
var ErrProtection = errors.New("the server refuses protection")

var errBehind234 = errors.New("something came behind the server's 234, in the clear")

// converseTLS is converse for a backend whose servers are reached over TLS.
func (d Dialer) converseTLS(ctx context.Context, sv *Server, config *tls.Config) error {
	if d.Backend.TLS.Implicit {
		if err := d.shake(ctx, sv, config); err != nil {
			return err
		}
	}
	if err := d.readGreeting(ctx, sv); err != nil {
		return err
	}
	if !d.Backend.TLS.Implicit {
		sv.Level = 'C'
		if err := d.authenticate(ctx, sv, config); err != nil {
			return err
		}
	}
	return d.setLevel(ctx, sv)
}

// shake makes the handshake with a server.
func (d Dialer) shake(ctx context.Context, sv *Server, c *tls.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.Timeouts.TLSHandshake, ftps.ErrNoHandshake)
	defer cancel()
	conn := sv.Conn
	secured := tls.Client(conn, c)
	tcp.ResetOnClose(conn, true) // A handshake that is given up closes the connection: see dialAddr.
	err := secured.HandshakeContext(ctx)
	tcp.ResetOnClose(conn, false)
	d.Metrics.ServerTLSHandshake(d.Backend.Name, err == nil)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("TLS handshake: %w%s", logline.PeerError(err), advice(err))
	}
	sv.Conn, sv.Protection = secured, c
	sv.Reader.Switch(secured)
	return nil
}

// advice is what an administrator may do about a handshake that failed, where the
// error by itself does not say that.
func advice(err error) string {
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name) && len(name.Certificate.DNSNames)+len(name.Certificate.IPAddresses) == 0:
		return " (the server's certificate has no subjectAltName; give it one, see docs/tls.md)"
	case errors.As(err, &name):
		return " (write server_name with a name that the certificate has)"
	case errors.As(err, &authority):
		return " (write ca with the certificate of its CA, or its own)"
	case errors.As(err, &record):
		return " (the server speaks in the clear here; is its mode explicit?)"
	}
	return ""
}

// authenticate says AUTH TLS to a server that has greeted. What lies behind its 234
// was sent in the clear, by whoever it was (H68).
func (d Dialer) authenticate(ctx context.Context, sv *Server, config *tls.Config) error {
	reply, err := d.ask(ctx, sv, "AUTH TLS")
	switch {
	case err != nil:
		return err
	case reply.Code != 234:
		return fmt.Errorf("%w: AUTH TLS: %w", ErrProtection, logline.PeerText(reply.Text()))
	case sv.Reader.Buffered() > 0:
		return errBehind234
	}
	return d.shake(ctx, sv, config)
}

// setLevel says PBSZ and PROT where the level is known and not what the server
// begins with. Servers that want the login first are told again before the first
// data connection.
func (d Dialer) setLevel(ctx context.Context, sv *Server) error {
	want := byte('P')
	switch d.Backend.TLS.Data {
	case config.DataSameAsClient:
		return nil
	case config.DataClear:
		want = 'C'
	}
	if sv.Level == want {
		return nil
	}
	for _, command := range []string{"PBSZ 0", "PROT " + string(want)} {
		reply, err := d.ask(ctx, sv, command)
		switch {
		case err != nil:
			return err
		case reply.Code == 530:
			return nil
		case ftp.Class(reply.Code) != 2:
			return fmt.Errorf("%w: %s: %w", ErrProtection, command, logline.PeerText(reply.Text()))
		}
		sv.Sized = true
	}
	sv.Level = want
	return nil
}
