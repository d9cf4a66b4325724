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

// ErrHandshake is a TLS handshake with a server that failed.
var ErrHandshake = errors.New("TLS handshake")

var errAfter234 = errors.New("something came after the server's 234, in the clear")

// converseTLS is converse for a backend whose servers are reached over TLS.
func (d Dialer) converseTLS(ctx context.Context, sv *Server, config *tls.Config) error {
	if d.Backend.TLS.Implicit {
		if err := d.shake(ctx, sv, config); err != nil {
			return &failure{failedTLS, err}
		}
	}
	if err := d.readGreeting(ctx, sv); err != nil {
		return err
	}
	if sv.Implied = d.Backend.TLS.Implicit; !sv.Implied {
		sv.Level = 'C'
		if err := d.authenticate(ctx, sv, config); err != nil {
			return &failure{failedTLS, err}
		}
	}
	if err := d.setLevel(ctx, sv); err != nil {
		return &failure{failedTLS, err}
	}
	return nil
}

// shake makes the handshake with a server.
func (d Dialer) shake(ctx context.Context, sv *Server, c *tls.Config) error {
	conn := sv.Conn
	secured := tls.Client(conn, c)
	tcp.ResetOnClose(conn, true) // A handshake that is given up closes the connection: see Dial.
	err := ftps.Handshake(ctx, secured, d.Timeouts.TLSHandshake)
	tcp.ResetOnClose(conn, false)
	d.Metrics.ServerTLSHandshake(d.Backend.Name, err == nil)
	if err != nil {
		return fmt.Errorf("%w: %w%s", ErrHandshake, logline.PeerError(err), advice(err))
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
	var invalid x509.CertificateInvalidError
	var fingerprint *ftps.FingerprintError
	switch {
	case errors.As(err, &name) && len(name.Certificate.DNSNames)+len(name.Certificate.IPAddresses) == 0:
		return " (the server's certificate has no subjectAltName; give it one, see docs/tls.md)"
	case errors.As(err, &name):
		return " (write server_name with a name that the certificate has)"
	case errors.As(err, &authority):
		return " (write ca with the certificate of its CA, or its own)"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return " (renew it, or trust it nevertheless by fingerprint)"
	case errors.As(err, &fingerprint):
		return " (if the server was given a new certificate, write its fingerprint)"
	case errors.As(err, &record):
		return " (the server speaks in the clear here; is its mode explicit?)"
	}
	return ""
}

// authenticate says AUTH TLS to a server that has greeted, and to one that refuses it
// AUTH SSL, which is older and means PROT P, too (RFC 4217 §17). Servers say 200, 235 and
// 334 for 234; whether they mean it, the handshake shows (H90). What follows such a
// reply was sent in the clear, by whoever it was (H68).
func (d Dialer) authenticate(ctx context.Context, sv *Server, config *tls.Config) error {
	command := "AUTH TLS"
	reply, err := d.Ask(ctx, sv, command)
	if err == nil && ftp.Class(reply.Code) >= 4 && reply.Code != 421 {
		command = "AUTH SSL"
		sv.Level, sv.Implied = 0, true
		reply, err = d.Ask(ctx, sv, command)
	}
	switch class := ftp.Class(reply.Code); {
	case err != nil:
		return err
	case class != 2 && class != 3:
		return fmt.Errorf("%w: %s: %w", ErrProtection, command, logline.PeerText(reply.Text()))
	case sv.Reader.Buffered() > 0:
		return errAfter234
	}
	return d.shake(ctx, sv, config)
}

// setLevel says PBSZ and PROT where the level is known and not what the server
// begins with. PBSZ says nothing under TLS, so PROT decides. A server that wants the
// login first, or that does not know PROT, is told again after the login (H90).
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
	reply, err := d.Ask(ctx, sv, "PBSZ 0")
	if err != nil || reply.Code == 530 {
		return err
	}
	sv.Sized = ftp.Class(reply.Code) == 2
	command := "PROT " + string(want)
	if reply, err = d.Ask(ctx, sv, command); err != nil {
		return err
	}
	switch {
	case ftp.Class(reply.Code) == 2:
		sv.Level = want
	case reply.Code == 421, sv.Declines(reply.Code):
		return fmt.Errorf("%w: %s: %w", ErrProtection, command, logline.PeerText(reply.Text()))
	}
	return nil
}

// Declines tells the replies to PROT that mean that the server does not protect its
// data connections so, from those that mean "not now" or that it does not know PROT.
func (sv *Server) Declines(code int) bool {
	switch code {
	case 431, 521, 534, 536, 537:
		return true
	}
	return code == 504 && !sv.Implied
}
