package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"ftproxy/config"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/transfer"
)

// What the log advises to look at, where a peer refuses us or we refuse it.

// namesTLS finds the replies of servers that want TLS. They say so in their own words: 530
// Non-anonymous sessions must use encryption (vsftpd), 550 SSL/TLS required on the control
// channel (ProFTPD, pyftpdlib), 421 … cleartext sessions … are not accepted (pure-ftpd),
// 534 Policy requires SSL (IIS), 503 Use AUTH first (FileZilla Server).
var namesTLS = regexp.MustCompile(`(?i)\b(tls|ssl|ftps|ftpes|encryption|encrypted|clear-?text|use auth|protected)\b`)

// wantsTLS tells whether a server's refusal is one for want of TLS.
func wantsTLS(code int, text string) bool { return code == 534 || namesTLS.MatchString(text) }

// checkLogin is what to look at when the server refuses a login; empty: the reply says it.
func (s *session) checkLogin(code int, text string) word {
	if !wantsTLS(code, text) || s.server.Protection != nil {
		return ""
	}
	return word(`the server wants TLS: write mode = "explicit" in [backend.` + s.backend.Name + `.tls]`)
}

// advise adds what to look at to a line, if there is anything.
func advise(e logLine, check word) logLine {
	if check == "" {
		return e
	}
	return e.Str("check", check)
}

// tellRefused tells of a command that ftproxy has refused.
func (s *session) tellRefused(verb string, r *refusal) {
	if r.check == "" {
		s.log.Debug().Verb(verb).Err(r).Msg(commandRefused.Message)
		return
	}
	s.log.begin(s.p.often(commandRefused, s.fe.name, strconv.Itoa(r.code), s.clientAddr.Addr())).Masked("user", s.user).Verb(verb).
		Err(r).Int("code", r.code).Stringer("local", s.local).Str("check", word(r.check)).Msg(commandRefused.Message)
}

// tellWantsTLS tells of a transfer that the server refuses because its data connection is
// to be in the clear: 522 (RFC 4217 §10), 521, and what vsftpd and ProFTPD say.
func (s *session) tellWantsTLS(d *delivery) {
	if d.accepted || d.final == nil || d.final.Code < 500 || s.serverProtection() != nil {
		return
	}
	if text := d.final.Text(); d.final.Code == 521 || d.final.Code == 522 || wantsTLS(d.final.Code, text) {
		s.log.often(transferWantsTLS, s.backend.Name, s.server.Addr.Addr()).Masked("user", s.user).Text("reply", text).
			Str("check", word(`write data = "private" in [backend.`+s.backend.Name+`.tls]`)).Msg(transferWantsTLS.Message)
	}
}

// tellNoTickets tells an administrator why a transfer may have failed whose server gives
// no session tickets: one that wants its data connections to resume takes none of ours
// then, because crypto/tls resumes by tickets only (ProFTPD without TLS 1.3, H73).
func (s *session) tellNoTickets(d *delivery, code int) {
	failed := d.result.Failed == transfer.ServerSide || d.final != nil && d.result.Failed != transfer.ClientSide &&
		(endsData(d.final.Code) || d.final.Code == 522)
	if code < 400 || !failed || d.aborted || s.serverProtection() == nil {
		return
	}
	if ftps.IsRenegotiation(d.result.Err) {
		s.log.often(renegotiates, s.backend.Name, s.server.Addr.Addr()).Int("code", code).
			Str("check", "turn renegotiation off in the server (ProFTPD: TLSRenegotiate none); see docs/tls.md").Msg(renegotiates.Message)
		return
	}
	if ftps.LacksTickets(s.server.Protection) {
		s.log.often(noTickets, s.backend.Name, s.server.Addr.Addr()).Stringer("server", s.server.Addr).Int("code", code).
			Str("check", "ProFTPD: TLSSessionTickets on, or TLSOptions NoSessionReuseRequired; see docs/tls.md").Msg(noTickets.Message)
	}
}

// checkServer is what to look at when a server cannot be used.
func (l sessionLog) checkServer(err error) word {
	table := `[backend.` + l.backend.Name + `.tls]`
	secured := l.backend.TLS != nil
	var invalid x509.CertificateInvalidError
	var untrusted *tls.CertificateVerificationError
	var fingerprint *ftps.FingerprintError
	var record tls.RecordHeaderError
	refused := dial.LastRefusal(err)
	switch {
	case errors.Is(err, dial.ErrLoop):
		return word("servers in [backend." + l.backend.Name + "], and what DNS or /etc/hosts says of that name: it must be the FTP server's address")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or this machine's clock is wrong"
	case errors.As(err, &untrusted):
		return word("the server's certificate: write server_name or ca in " + table)
	case errors.As(err, &fingerprint):
		return word("ask who runs the server whether its certificate is new: then write its fingerprint in " + table)
	case errors.As(err, &record):
		return word("whether this is a port of implicit TLS; for port 21 write mode = \"explicit\" in " + table)
	case errors.Is(err, dial.ErrProtection):
		return word("whether TLS is turned on in the server; else write mode = \"off\" in " + table)
	case refused != nil && !secured && wantsTLS(refused.Reply.Code, refused.Reply.Text()):
		return word(`the server wants TLS: write mode = "explicit" in ` + table)
	case refused != nil:
		return "the server's limits for sessions and for one address: it sees ftproxy's address for all clients"
	case errors.Is(err, ftps.ErrNoHandshake):
		return word("whether this is a port of implicit TLS; for port 21 write mode = \"explicit\" in " + table)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return word("whether this is a port of FTP; for one of implicit TLS (990) write mode = \"implicit\" in " + table)
	case errors.Is(err, dial.ErrHandshake) && !(isEnd(err) && l.backend.TLS.Implicit):
		return word(`the versions of TLS and the cipher suites of the server: an old one needs ciphers = "legacy", a very old one min_version = "1.0" in ` + table +
			"; one that wants a certificate of ftproxy needs certificate")
	case isEnd(err):
		return "whether the server lets ftproxy's address in: its list of hosts, its limits, a ban"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "whether the server runs and listens at this port; a firewall may reject it, too"
	case isTimeout(err):
		return "whether the server's machine runs; a firewall may drop ftproxy's connections"
	}
	return ""
}

// isEnd tells that the peer has closed or reset its connection.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// quickEnd is how soon a client that never began TLS has to leave to be none at all: health
// checks and scanners connect and leave.
const quickEnd = time.Second

// tellHandshake tells of a client's control connection that did not become a protected one.
func (s *session) tellHandshake(err error) {
	implicit := s.fe.tls.Implicit()
	if isEnd(err) && implicit && time.Since(s.began) < quickEnd || s.HardStopped() != nil {
		return
	}
	s.log.often(handshakeFailed, s.fe.name, s.clientAddr.Addr()).Err(logline.PeerError(err)).Stringer("local", s.local).
		Str("check", s.checkHandshake(err)).Msg(handshakeFailed.Message)
}

// checkHandshake is what to look at then.
func (s *session) checkHandshake(err error) word {
	var remote *net.OpError // an alert, the client's or ours
	var record tls.RecordHeaderError
	expired := ""
	for _, c := range s.fe.tls.Certificates() {
		if time.Now().After(c.Leaf.NotAfter) {
			expired = fmt.Sprintf("the certificate in %s has expired at %s: renew it", c.File, c.Leaf.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	silent := errors.Is(err, ftps.ErrNoHandshake) || isEnd(err)
	switch {
	case s.fe.tls.Implicit() && (silent || errors.As(err, &record)):
		return "this port is of implicit TLS: a client in the clear, or of explicit TLS (FTPES), needs another port"
	case expired != "":
		return word(expired)
	case errors.As(err, &remote), silent: // Under TLS 1.3 an alert may come before we can read it.
		return word(`whether the client trusts the certificate: its CA, its name, its chain; and knows the versions of TLS and the cipher suites: an old client needs ciphers = "legacy" in [frontend.` + s.fe.name + `.tls]`)
	}
	return word(`the versions of TLS and the cipher suites of the client: min_version and max_version in [frontend.` + s.fe.name +
		`.tls]; an old client needs ciphers = "legacy" there`)
}

// tellHello tells of a client that begins TLS where nobody does.
func (s *session) tellHello() {
	check := word("this port does not begin with TLS: set the client to explicit TLS (FTPES), not implicit")
	if s.fe.tls == nil {
		check = word(`this port has no TLS: set the client to plain FTP, or write [frontend.` + s.fe.name + `.tls]`)
	}
	s.log.often(handshakeFailed, s.fe.name, s.clientAddr.Addr()).Err(errHello).Stringer("local", s.local).
		Str("check", check).Msg(handshakeFailed.Message)
}

var errHello = errors.New("the client begins TLS without AUTH")

// serverUnusable tells of a server that cannot be connected to.
func (l sessionLog) serverUnusable(to config.Server, err error) {
	e := l.often(serverUnusable, l.backend.Name, hostAddr(to.Host)).Err(err).Stringer("server", to)
	advise(e, l.checkServer(err)).Msg(serverUnusable.Message)
}

// quickLeave is how soon a server has to end a session whose client says nothing, not to do
// so for that reason.
const quickLeave = 10 * time.Second

// tellLeaves tells of a server that ends the session before it has let the client in, with a
// 421 or without a word. After a login it is most often the server's idle timeout.
func (s *session) tellLeaves(reply []byte) {
	if s.stage == loggedIn || s.server.HalfClosed || s.client.Ended || len(s.pending) == 0 && time.Since(s.began) > quickLeave {
		return
	}
	text := string(reply)
	check := word("")
	if text != "" {
		check = s.checkLogin(421, text)
	}
	if check == "" {
		check = "the server's limits for sessions and for one address: it sees ftproxy's address for all clients"
	}
	e := s.log.often(serverLeaves, s.backend.Name, s.server.Addr.Addr()).Masked("name", s.asked).Text("reply", text)
	e.Str("check", check).Msg(serverLeaves.Message)
}

// checkSetup is what to look at when the server refuses a data connection.
func (s *session) checkSetup(ex *exchange) word {
	switch code := ex.reply.Code; {
	case s.serverProtection() == nil && wantsTLS(code, ex.reply.Text()):
		return word(`the server wants TLS: write data = "private" in [backend.` + s.backend.Name + `.tls]`)
	case unknownVerb(code) && passiveVerb(ex.verb):
		return word(`whether the server allows passive mode; else write data = "active" in [backend.` + s.backend.Name + `]`)
	case unknownVerb(code):
		return word(`whether the server allows active mode; else write data = "passive" in [backend.` + s.backend.Name + `]`)
	}
	return ""
}

// lookForHello looks whether what the client has sent, and what is no command, is TLS.
func (s *session) lookForHello() {
	if r, ok := s.client.Reader.(*ftp.CommandReader); ok && r.Hello() {
		s.tellHello()
	}
}
