package proxy

import (
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/report"
)

// The protection of the server's data connections (RFC 4217 §9).

// sendLevel begins to tell the server what its data connections must be: as soon as it has let
// the client in, if it did not want to know before; when the client's own level
// changes, which is answered then; and otherwise before a setup.
func (s *session) sendLevel(ex *exchange) error {
	if s.server.Sized {
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
			ex.setup.ports.Close()
		}
		return err
	}
	return nil
}

// replyPBSZ goes on with PROT, which decides.
func (s *session) replyPBSZ(ex *exchange) error {
	s.server.Sized = ftp.Class(ex.reply.Code) == 2
	return s.sendPROT(&exchange{owed: ex.owed, setup: ex.setup})
}

// replyPROT goes on once the server has agreed, or where it protects its data
// connections unasked and does not know PROT: the handshake shows that it does (H90).
func (s *session) replyPROT(ex *exchange) error {
	code, wants := ex.reply.Code, s.serverWants()
	if ftp.Class(code) != 2 && s.server.Implied && !s.server.Declines(code) && (wants == 'P' || ftp.RefusesVerb(code)) {
		s.server.always, wants = true, 'P'
	}
	if ftp.Class(code) != 2 && !s.server.always {
		s.log.Often(report.ProtectionRefused).Verb(ex.verb).Text("reply", ex.reply.Text()).Msg(report.ProtectionRefused.Message)
		switch {
		case ex.setup != nil:
			ex.setup.ports.Close()
			return refuse(425, textNoConnect, dial.ErrProtection)
		case ex.owed: // Transfers are refused from now on, rather than made in the clear.
			return refuse(534, "Data connections cannot be protected so.", dial.ErrProtection)
		}
		return nil
	}
	s.server.Level = wants
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
	return s.backend.TLS.Level(s.server.Level, s.server.always, s.client.protects())
}
