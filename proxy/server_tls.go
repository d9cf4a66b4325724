package proxy

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

// errServerTLS is a server that refuses what its backend wants protected. Nothing
// goes on in the clear instead.
var errServerTLS = errors.New("the server refuses protection")

// converseTLS is converse for a backend whose servers are reached over TLS.
func (d dialer) converseTLS(ctx context.Context, sv *server, config *tls.Config) error {
	if d.backend.tls.Implicit {
		if err := d.shake(ctx, sv, config); err != nil {
			return err
		}
	}
	if err := d.readGreeting(ctx, sv); err != nil {
		return err
	}
	if !d.backend.tls.Implicit {
		sv.level = 'C'
		if err := d.authenticate(ctx, sv, config); err != nil {
			return err
		}
	}
	return d.setLevel(ctx, sv)
}

// shake makes the handshake with a server.
func (d dialer) shake(ctx context.Context, sv *server, c *tls.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeouts.TLSHandshake, ftps.ErrNoHandshake)
	defer cancel()
	conn := sv.conn
	secured := tls.Client(conn, c)
	tcp.ResetOnClose(conn, true) // A handshake that is given up closes the connection: see early.
	err := secured.HandshakeContext(ctx)
	tcp.ResetOnClose(conn, false)
	d.metrics.ServerTLSHandshake(d.backend.name, err == nil)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("TLS handshake: %w%s", logline.PeerError(err), advice(err))
	}
	sv.conn, sv.tlsConfig = secured, c
	sv.reader.Switch(secured)
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
func (d dialer) authenticate(ctx context.Context, sv *server, config *tls.Config) error {
	reply, err := d.ask(ctx, sv, "AUTH TLS")
	switch {
	case err != nil:
		return err
	case reply.Code != 234:
		return fmt.Errorf("%w: AUTH TLS: %w", errServerTLS, logline.PeerText(reply.Text()))
	case sv.reader.Buffered() > 0:
		return errBehind234
	}
	return d.shake(ctx, sv, config)
}

// setLevel says PBSZ and PROT where the level is known and not what the server
// begins with. Servers that want the login first are told again before the first
// data connection.
func (d dialer) setLevel(ctx context.Context, sv *server) error {
	want := byte('P')
	switch d.backend.tls.Data {
	case config.DataSameAsClient:
		return nil
	case config.DataClear:
		want = 'C'
	}
	if sv.level == want {
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
			return fmt.Errorf("%w: %s: %w", errServerTLS, command, logline.PeerText(reply.Text()))
		}
		sv.sized = true
	}
	sv.level = want
	return nil
}

// sendLevel tells the server what its data connections must be: as soon as it has let
// the client in, if it did not want to know before; when the client's own level
// changes, which is answered then; and otherwise before a setup.
func (s *session) sendLevel(ex *exchange) error {
	c := ftp.Command{Verb: "PBSZ", Arg: []byte("0"), HasArg: true}
	if s.server.sized {
		c = ftp.Command{Verb: "PROT", Arg: []byte{s.serverWants()}, HasArg: true}
	}
	if _, err := s.send(c, ex); err != nil {
		if ex.setup != nil {
			ex.setup.ports.close()
		}
		return err
	}
	return nil
}

// replyLevel goes on once the server has agreed.
func (s *session) replyLevel(ex *exchange) error {
	if ftp.Class(ex.reply.Code) != 2 {
		s.log.often(protectionRefused, s.backend.name, s.server.addr.Addr()).Verb(ex.verb).Text("reply", ex.reply.Text()).Msg(protectionRefused.Message)
		switch {
		case ex.setup != nil:
			ex.setup.ports.close()
			return refuse(425, textNoConnect, errServerTLS)
		case ex.owed: // Transfers are refused from now on, rather than made in the clear.
			return refuse(534, "Data connections cannot be protected so.", errServerTLS)
		}
		return nil
	}
	if s.server.sized = true; ex.verb == "PROT" {
		s.server.level = s.serverWants()
	}
	switch {
	case ex.verb == "PBSZ":
		return s.sendLevel(&exchange{owed: ex.owed, setup: ex.setup})
	case ex.setup != nil:
		return s.sendSetup(ex.setup)
	case ex.owed:
		return s.answerPROT()
	}
	return nil
}

// serverWants is the level that the server's data connections must have now.
func (s *session) serverWants() byte {
	switch back := s.backend.tls; {
	case back == nil:
		return s.server.level
	case back.Data == config.DataPrivate:
		return 'P'
	case back.Data == config.DataSameAsClient && s.client.protects():
		return 'P'
	}
	return 'C'
}
