package proxy

import (
	"ftproxy/config"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
)

// The protection of the server's data connections (RFC 4217 §9).

// sendLevel tells the server what its data connections must be: as soon as it has let
// the client in, if it did not want to know before; when the client's own level
// changes, which is answered then; and otherwise before a setup.
func (s *session) sendLevel(ex *exchange) error {
	c := ftp.Command{Verb: "PBSZ", Arg: []byte("0"), HasArg: true}
	if s.server.Sized {
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
		s.log.often(protectionRefused, s.backend.Name, s.server.Addr.Addr()).Verb(ex.verb).Text("reply", ex.reply.Text()).Msg(protectionRefused.Message)
		switch {
		case ex.setup != nil:
			ex.setup.ports.close()
			return refuse(425, textNoConnect, dial.ErrProtection)
		case ex.owed: // Transfers are refused from now on, rather than made in the clear.
			return refuse(534, "Data connections cannot be protected so.", dial.ErrProtection)
		}
		return nil
	}
	if s.server.Sized = true; ex.verb == "PROT" {
		s.server.Level = s.serverWants()
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
	switch back := s.backend.TLS; {
	case back == nil:
		return s.server.Level
	case back.Data == config.DataPrivate:
		return 'P'
	case back.Data == config.DataSameAsClient && s.client.protects():
		return 'P'
	}
	return 'C'
}
