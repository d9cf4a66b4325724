// Package report is what the log tells of sessions, their transfers and the data ports,
// and what it advises an administrator to check where something was refused or did not
// come.
package report

import (
	"net/netip"
	"sync/atomic"

	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
)

type (
	line = logline.Line
	word = logline.Word
)

// A Session begins log lines with what tells one session from another. It
// writes that anew for each line, because a session that keeps it written would
// be half a kilobyte larger, and most sessions have three lines. It is a value with
// copies, so that a worker's lines need nothing of the session.
//
// It knows the secrets of the session, and withholds what quotes one of them.
type Session struct {
	Lines   *logline.Summary
	Name    string // what tells the session from all others
	Client  netip.AddrPort
	Local   netip.AddrPort // where the client reached us
	Secrets *atomic.Pointer[logline.Secrets]

	Frontend, Backend string
	TLS, Implicit     bool           // servers are reached by TLS; by implicit TLS
	Server            netip.AddrPort // invalid: not connected
}

// Debug begins a line for developers.
func (s *Session) Debug() logline.Line { return s.begin(s.Lines.Log.Debug()) }

// Info begins a line of what goes on.
func (s *Session) Info() logline.Line { return s.begin(s.Lines.Log.Info()) }

// Warn begins a line of what an administrator should look at.
func (s *Session) Warn() logline.Line { return s.begin(s.Lines.Log.Warn()) }

// Often begins a line that a peer can cause at will (see [logline.Summary]): the
// client where the kind is about the frontend, the server where it is about the backend.
func (s *Session) Often(k *logline.Kind) logline.Line {
	if k.About == "backend" {
		return s.begin(s.Lines.Often(k, s.Backend, "", s.Server.Addr()))
	}
	return s.begin(s.Lines.Often(k, s.Frontend, "", s.Client.Addr()))
}

func (s *Session) begin(e line) line {
	if !e.Written() {
		return e
	}
	e = e.Withholding(s.Secrets.Load()).Str("session", word(s.Name)).
		AddrPort("client", s.Client).Str("backend", word(s.Backend))
	if s.Server.IsValid() {
		e = e.AddrPort("server", s.Server)
	}
	return e
}

// Show is what the log may have of a name or path of the client's.
func (s *Session) Show(text []byte) logline.Masked { return s.Secrets.Load().Show(string(text)) }

// KeepSecrets keeps the secrets of a command, which the log is to withhold from now on,
// and tells whether there are any.
func (s *Session) KeepSecrets(c ftp.Command) bool {
	all := s.Lines.Log.Verbs.Secrets(c)
	for _, secret := range all {
		s.Secrets.Store(s.Secrets.Load().With(secret))
	}
	return len(all) > 0
}
