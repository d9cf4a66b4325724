package report

import (
	"errors"
	"strconv"

	"ftproxy/internal/balance"
	"ftproxy/internal/ftp"
	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
)

// Lines with advice.

// CommandRefused tells of a command that ftproxy refuses, where an administrator will be
// asked about it.
func (s *Session) CommandRefused(user logline.Masked, verb string, code int, why error, check string) {
	s.begin(s.Lines.Often(CommandRefused, s.Frontend, strconv.Itoa(code), s.Client.Addr())).Masked("user", user).Verb(verb).
		Err(why).Int("code", code).Stringer("local", s.Local).Str("check", word(check)).Msg(CommandRefused.Message)
}

// LoginFailed tells of a login that the server refuses. Who guesses passwords is told of
// here: the server sees our address only.
func (s *Session) LoginFailed(name logline.Masked, verb string, code int, text string) {
	e := s.Often(LoginFailed).Masked("name", name).Verb(verb).Int("code", code).Text("reply", text)
	advise(e, login(s.Backend, s.TLS, code, text)).Msg(LoginFailed.Message)
}

// ServerLeaves tells of a server that ends the session before it has let the client in:
// with a 421 reply, or without a word (reply is empty).
func (s *Session) ServerLeaves(name logline.Masked, reply string) {
	check := word(checkLimits)
	if wants := login(s.Backend, s.TLS, 421, reply); reply != "" && wants != "" {
		check = wants
	}
	s.Often(ServerLeaves).Masked("name", name).Text("reply", reply).Str("check", check).Msg(ServerLeaves.Message)
}

// ServerUnusable tells of a server that cannot be connected to.
func (s *Session) ServerUnusable(to balance.Target, err error) {
	e := s.begin(s.Lines.Often(ServerUnusable, s.Backend, "", to.Addr.Addr())).Err(err).Str("server", logline.Word(to.Name))
	if to.Name != to.Addr.String() {
		e = e.Stringer("address", to.Addr)
	}
	advise(e, server(s.Backend, s.TLS, s.Implicit, err)).Msg(ServerUnusable.Message)
}

// HandshakeFailed tells of a client's control connection that did not become a protected
// one.
func (s *Session) HandshakeFailed(front *ftps.Frontend, err error) {
	s.handshakeFailed(logline.PeerError(err), handshake(s.Frontend, front, err))
}

// Hello tells of a client that begins TLS where nobody does. front may be nil.
func (s *Session) Hello(front *ftps.Frontend) {
	check := word("this port does not begin with TLS: set the client to explicit TLS (FTPES), not implicit")
	if front == nil {
		check = word(`this port has no TLS: set the client to plain FTP, or write [frontend.` + s.Frontend + `.tls]`)
	}
	s.handshakeFailed(errHello, check)
}

var errHello = errors.New("the client begins TLS without AUTH")

func (s *Session) handshakeFailed(err error, check word) {
	s.Often(HandshakeFailed).Err(err).Stringer("local", s.Local).Str("check", check).Msg(HandshakeFailed.Message)
}

// SetupRefused tells of a data connection that the server refuses. secured: data
// connections with the server are protected.
func (s *Session) SetupRefused(user logline.Masked, verb string, secured bool, reply *ftp.Reply, why error) {
	text := reply.Text()
	e := s.Often(SetupRefused).Masked("user", user).Err(why).Verb(verb).Text("reply", text)
	advise(e, setup(s.Backend, verb, secured, reply.Code, text)).Msg(SetupRefused.Message)
}

// TransferWantsTLS tells of a transfer that the server refuses because its data connection
// is to be in the clear, if its reply says that: 522 (RFC 4217 §10), 521, and what vsftpd
// and ProFTPD say.
func (s *Session) TransferWantsTLS(user logline.Masked, reply *ftp.Reply) {
	if text := reply.Text(); reply.Code == 521 || reply.Code == 522 || ftp.WantsTLS(reply.Code, text) {
		s.Often(TransferWantsTLS).Masked("user", user).Text("reply", text).
			Str("check", word(`write data = "private" in [backend.`+s.Backend+`.tls]`)).Msg(TransferWantsTLS.Message)
	}
}

// Renegotiates tells of a server that ends a data connection, because it asks for renegotiation.
func (s *Session) Renegotiates(code int) {
	s.Often(Renegotiates).Int("code", code).
		Str("check", "turn renegotiation off in the server (ProFTPD: TLSRenegotiate none); see docs/tls.md").Msg(Renegotiates.Message)
}

// NoTickets tells why a transfer may have failed whose server gives no session tickets:
// one that wants its data connections to resume takes none of ours then, because
// crypto/tls resumes by tickets only (ProFTPD without TLS 1.3, H73).
func (s *Session) NoTickets(code int) {
	s.Often(NoTickets).Stringer("server", s.Server).Int("code", code).
		Str("check", "ProFTPD: TLSSessionTickets on, or TLSOptions NoSessionReuseRequired; see docs/tls.md").Msg(NoTickets.Message)
}
