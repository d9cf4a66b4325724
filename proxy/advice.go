package proxy

import (
	"errors"
	"io"
	"syscall"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/report"
	"ftproxy/internal/transfer"
)

// When the log advises an administrator; what it says then is in internal/report.

type (
	word   = logline.Word
	masked = logline.Masked
)

// secretVerbs finds what is secret in commands.
var secretVerbs logline.Verbs = func(name string) (known, isSecret bool) {
	row, known := verbs[name]
	return known, row.has(secret)
}

// tellRefused tells of a command that ftproxy has refused.
func (s *session) tellRefused(verb string, r *refusal) {
	if r.check == "" {
		s.log.Debug().Verb(verb).Err(r).Msg(report.CommandRefused.Message)
		return
	}
	s.log.CommandRefused(s.user, verb, r.code, r, r.check)
}

// tellFailure tells of what the peers themselves do not know about a transfer that ends
// with this final reply.
func (s *session) tellFailure(d *delivery, code int) {
	s.tellNoTickets(d, code)
	s.tellUnmet(d, code)
	if !d.accepted && d.final != nil && d.final.Code >= 500 && s.serverProtection() == nil {
		s.log.TransferWantsTLS(s.user, d.final)
	}
}

// tellNoTickets tells of a server whose data connections fail and that gives no session
// tickets.
func (s *session) tellNoTickets(d *delivery, code int) {
	failed := d.result.Failed == transfer.ServerSide || d.final != nil && d.result.Failed != transfer.ClientSide &&
		(ftp.EndsData(d.final.Code) || d.final.Code == 522)
	if code < 400 || !failed || d.aborted || s.serverProtection() == nil {
		return
	}
	if ftps.IsRenegotiation(d.result.Err) {
		s.log.Renegotiates(code)
		return
	}
	if ftps.LacksTickets(s.server.Protection) {
		s.log.NoTickets(code)
	}
}

// slowConnection is how long a connection may take before its absence is a reason for
// anything.
const slowConnection = 3 * time.Second

// tellUnmet tells of the connections that a transfer waited for in vain.
func (s *session) tellUnmet(d *delivery, code int) {
	if code < 400 || !d.accepted && !d.aborted && d.final != nil && !ftp.EndsData(d.final.Code) {
		return
	}
	// A client that has gone, and a server that has failed, may leave the other no time.
	timely := errors.Is(d.result.Err, transfer.ErrDataConnect)
	if u, ok := d.transfer.Unmet(transfer.ClientSide); ok && (u.Err != nil || timely || isSlow(u)) {
		s.tellClientUnmet(d.transfer, u)
	}
	failed := timely || d.final != nil && ftp.EndsData(d.final.Code) && !d.aborted
	if u, ok := d.transfer.Unmet(transfer.ServerSide); ok && (u.Err != nil || failed && u.Listens || isSlow(u) || timely) {
		a := report.Absence{Unmet: u, User: s.user, Verb: d.transfer.Modes().Server, Ports: s.backend.dataPorts}
		if d.final != nil {
			a.Reply = d.final.Text()
		}
		s.log.ServerAbsent(a)
	}
}

func isSlow(u transfer.Unmet) bool { return time.Since(u.Since) >= slowConnection }

// tellUnused tells of a data connection that the session gives up because its client does
// something else, if the client was told a port and never came there.
func (s *session) tellUnused() {
	if s.data.next == nil || s.data.next.Refused() {
		return
	}
	if u, ok := s.data.next.Unmet(transfer.ClientSide); ok && u.Listens {
		s.tellClientUnmet(s.data.next, u)
	}
}

func (s *session) tellClientUnmet(t *transfer.Transfer, u transfer.Unmet) {
	verb := t.Modes().Client
	s.log.ClientAbsent(report.Absence{Unmet: u, User: s.user, Verb: verb, Ports: s.fe.passivePorts,
		Told: s.told(verb, u.Addr.Port()), Proxied: s.from.Proxy.IsValid()})
}

// quickEnd is how soon a client that never began TLS has to leave to be none at all: health
// checks and scanners connect and leave.
const quickEnd = time.Second

// tellHandshake tells of a client's control connection that did not become a protected one.
func (s *session) tellHandshake(err error) {
	gone := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	if gone && s.fe.tls.Implicit() && time.Since(s.Began) < quickEnd || s.HardStopped() != nil {
		return
	}
	s.log.HandshakeFailed(s.fe.tls, err)
}

// lookForHello looks whether what the client has sent, and what is no command, is TLS.
func (s *session) lookForHello() {
	if r, ok := s.client.Reader.(*ftp.CommandReader); ok && r.Hello() {
		s.log.Hello(s.fe.tls)
	}
}

// quickLeave is how soon a server has to end a session whose client says nothing, not to do
// so for that reason.
const quickLeave = 10 * time.Second

// tellLeaves tells of a server that ends the session before it has let the client in, with a
// 421 or without a word. After a login it is most often the server's idle timeout.
func (s *session) tellLeaves(reply []byte) {
	if s.stage == loggedIn || s.server.HalfClosed || s.client.Ended || len(s.pending) == 0 && time.Since(s.Began) > quickLeave {
		return
	}
	s.log.ServerLeaves(s.asked, string(reply))
}
