package proxy

import (
	"strings"

	"ftproxy/internal/ftp"
	"ftproxy/rewrite"
)

// doUSER remembers the name. The server decides about it.
func (s *session) doUSER(q *queued) error {
	s.asked = s.log.Show(q.Arg)
	return s.forward(q)
}

// notedLogin follows the login as RFC 959 §6 draws it: 230 ends it, whichever
// of USER, PASS and ACCT it answers, and so does any other 2xx once USER has said
// who it is: servers answer with 200, 202, 220 and 250, too (H89). A 331 to a later USER
// begins it again.
func (s *session) notedLogin(ex *exchange, code int) {
	switch {
	case code == 230, code == 232, ftp.Class(code) == 2 && s.asked != "":
		s.stage, s.user = loggedIn, s.asked
		s.timers.Clear(timerLogin)
	case ex.verb == "USER" && ftp.Class(code) == 3:
		s.restartLogin()
	case ftp.Class(code) >= 4:
		s.p.metrics.LoginFailed(s.fe.name)
		s.log.LoginFailed(s.asked, ex.verb, code, ex.reply.Text())
	}
}

// notedREIN puts the session where it was after the greeting (RFC 959 §4.1.1).
func (s *session) notedREIN(_ *exchange, code int) {
	if ftp.Class(code) != 2 {
		return
	}
	s.dropData()
	s.asked, s.data.epsvAll, s.data.givenUp = "", false, false
	s.restartLogin()
}

func (s *session) restartLogin() {
	if s.server.noLogin && s.asked == "" { // After REIN it wants no login again.
		s.user = ""
		return
	}
	s.stage, s.user = greeted, ""
	s.timers.SetIfUnset(timerLogin, s.rt.timeouts.Login)
}

// replyFEAT keeps what is true through ftproxy of what the server offers, and
// adds what ftproxy itself provides (RFC 2389 §3, H21).
func (s *session) replyFEAT(ex *exchange) error {
	lines := ex.reply.Lines
	if ex.reply.Code == 211 {
		lines = rewrite.EditFEAT(lines, dropFeature, s.features())
	}
	s.client.Out = ftp.Reply{Code: ex.reply.Code, Lines: lines}.AppendLines(s.client.Out)
	return nil
}

// dropFeature is for rewrite.EditFEAT: a feature that is hidden does not exist
// here, and of MODE only S does.
func dropFeature(name, params string) (string, bool) {
	switch name = strings.ToUpper(name); {
	case verbs[name].has(hiddenInFEAT):
		return "", false
	case name == "MODE":
		return params, strings.EqualFold(strings.TrimSpace(params), "S")
	}
	return params, true
}
