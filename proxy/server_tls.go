package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/tcp"
)

// FTPS towards servers (RFC 4217): ftproxy is the client.

// errServerTLS is a server that refuses what its backend wants protected. Nothing
// goes on in the clear instead.
var errServerTLS = errors.New("the server refuses protection")

// A ticketCache is the TLS sessions of one session with its server. A server that
// insists on resumption takes each TLS 1.3 ticket once, and gives new ones on every
// connection, so the newest goes first and the last one is kept.
type ticketCache struct {
	mu    sync.Mutex
	state []*tls.ClientSessionState
	asked int  // how many handshakes have begun
	given bool // the server has given one
}

// maxTickets bounds what one server can make us keep.
const maxTickets = 4

// Get implements [tls.ClientSessionCache]; the session has one server, so one key.
func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	n := len(c.state)
	if n == 0 {
		return nil, false
	}
	newest := c.state[n-1]
	if n > 1 {
		c.state = c.state[:n-1]
	}
	return newest, true
}

// Put keeps a new one. crypto/tls says nil of one that a server did not take.
func (c *ticketCache) Put(_ string, state *tls.ClientSessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == nil {
		return
	}
	c.given = true
	if len(c.state) == maxTickets {
		c.state = append(c.state[:0], c.state[1:]...)
	}
	c.state = append(c.state, state)
}

// missing tells whether a data connection had nothing to resume, because the server has
// never given a ticket. The first handshake is the control connection's.
func (c *ticketCache) missing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked > 1 && !c.given
}

// serverTLS is the configuration of a session's connections to a server, control
// and data: one server name and one cache, or nothing would be resumed.
func (b *backTLS) serverTLS(host string) *tls.Config {
	c := b.config.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	c.ClientSessionCache = new(ticketCache)
	return c
}

// converseTLS is converse for a backend whose servers are reached over TLS.
func (d dialer) converseTLS(ctx context.Context, sv *server, config *tls.Config) error {
	if d.backend.tls.implicit {
		if err := d.shake(ctx, sv, config); err != nil {
			return err
		}
	}
	if err := d.readGreeting(ctx, sv); err != nil {
		return err
	}
	if sv.implied = d.backend.tls.implicit; !sv.implied {
		sv.level = 'C'
		if err := d.authenticate(ctx, sv, config); err != nil {
			return err
		}
	}
	return d.setLevel(ctx, sv)
}

// shake makes the handshake with a server.
func (d dialer) shake(ctx context.Context, sv *server, c *tls.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeouts.TLSHandshake, errNoHandshake)
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

// authenticate says AUTH TLS to a server that has greeted, and to one that refuses it
// AUTH SSL, which is older and means PROT P, too (RFC 4217 §17). Servers say 200, 235 and
// 334 for 234; whether they mean it, the handshake shows (H88). What follows such a
// reply was sent in the clear, by whoever it was (H68).
func (d dialer) authenticate(ctx context.Context, sv *server, config *tls.Config) error {
	command := "AUTH TLS"
	reply, err := d.ask(ctx, sv, command)
	if err == nil && ftp.Class(reply.Code) >= 4 && reply.Code != 421 {
		command = "AUTH SSL"
		sv.level, sv.implied = 0, true
		reply, err = d.ask(ctx, sv, command)
	}
	switch class := ftp.Class(reply.Code); {
	case err != nil:
		return err
	case class != 2 && class != 3:
		return fmt.Errorf("%w: %s: %w", errServerTLS, command, logline.PeerText(reply.Text()))
	case sv.reader.Buffered() > 0:
		return errBehind234
	}
	return d.shake(ctx, sv, config)
}

// setLevel says PBSZ and PROT where the level is known and not what the server
// begins with. PBSZ says nothing under TLS, so PROT decides. A server that wants the
// login first, or that does not know PROT, is told again after the login (H88).
func (d dialer) setLevel(ctx context.Context, sv *server) error {
	want := byte('P')
	switch d.backend.tls.data {
	case config.DataSameAsClient:
		return nil
	case config.DataClear:
		want = 'C'
	}
	if sv.level == want {
		return nil
	}
	reply, err := d.ask(ctx, sv, "PBSZ 0")
	if err != nil || reply.Code == 530 {
		return err
	}
	sv.sized = ftp.Class(reply.Code) == 2
	command := "PROT " + string(want)
	if reply, err = d.ask(ctx, sv, command); err != nil {
		return err
	}
	switch {
	case ftp.Class(reply.Code) == 2:
		sv.level = want
	case reply.Code == 421, sv.declines(reply.Code):
		return fmt.Errorf("%w: %s: %w", errServerTLS, command, logline.PeerText(reply.Text()))
	}
	return nil
}

// declines tells the replies to PROT that mean that the server does not protect its
// data connections so, from those that mean "not now" or that it does not know PROT.
func (sv *server) declines(code int) bool {
	switch code {
	case 431, 521, 534, 536, 537:
		return true
	}
	return code == 504 && !sv.implied
}

// sendLevel begins to tell the server what its data connections must be: as soon as it has let
// the client in, if it did not want to know before; when the client's own level
// changes, which is answered then; and otherwise before a setup.
func (s *session) sendLevel(ex *exchange) error {
	if s.server.sized {
		return s.sendPROT(ex)
	}
	return s.tellLevel(ftp.Command{Verb: "PBSZ", Arg: []byte("0"), HasArg: true}, ex)
}

// sendPROT says the second half of it.
func (s *session) sendPROT(ex *exchange) error {
	return s.tellLevel(ftp.Command{Verb: "PROT", Arg: []byte{s.serverWants()}, HasArg: true}, ex)
}

// tellLevel says one command of it. Without its reply a setup does not go on.
func (s *session) tellLevel(c ftp.Command, ex *exchange) error {
	if _, err := s.send(c, ex); err != nil {
		if ex.setup != nil {
			ex.setup.ports.close()
		}
		return err
	}
	return nil
}

// replyPBSZ goes on with PROT, which decides.
func (s *session) replyPBSZ(ex *exchange) error {
	s.server.sized = ftp.Class(ex.reply.Code) == 2
	return s.sendPROT(&exchange{owed: ex.owed, setup: ex.setup})
}

// replyPROT goes on once the server has agreed, or where it protects its data
// connections unasked and does not know PROT: the handshake shows that it does (H88).
func (s *session) replyPROT(ex *exchange) error {
	code, wants := ex.reply.Code, s.serverWants()
	if ftp.Class(code) != 2 && s.server.implied && !s.server.declines(code) && (wants == 'P' || unknownVerb(code)) {
		s.server.always, wants = true, 'P'
	}
	if ftp.Class(code) != 2 && !s.server.always {
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
	s.server.level = wants
	switch {
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
	case s.server.always:
		return 'P'
	case back.data == config.DataPrivate:
		return 'P'
	case back.data == config.DataSameAsClient && s.client.protects():
		return 'P'
	}
	return 'C'
}
