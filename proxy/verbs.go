package proxy

import (
	"errors"
	"strings"

	"ftproxy/internal/ftp"
)

// A verb is a row of the table below.
type verb struct {
	class class
	// from is the stage before which the verb is refused, so that nobody
	// who is not logged in takes a data port.
	from stage
	// do handles the command; nil: it is forwarded.
	do func(*session, *queued) error
	// reply handles the final reply, read whole; nil: the reply is relayed
	// line by line.
	reply func(*session, *exchange) error
	// noted sees the code of a final reply that is relayed.
	noted func(*session, *exchange, int)
	// direction is that of a transfer verb's data.
	direction direction
}

// class is what the metrics count a verb under.
type class string

const (
	classLogin    class = "login"
	classSetup    class = "data"
	classTransfer class = "transfer"
	classFile     class = "file"
	classControl  class = "control"
	classSecurity class = "security"
	classOther    class = "other"
)

// direction is where the payload of a transfer goes, as the client sees it.
type direction int

const (
	noData direction = iota
	download
	upload
)

func (d direction) String() string {
	if d == upload {
		return "upload"
	}
	return "download"
}

// verbs is everything ftproxy understands. Other verbs, and their replies, are
// relayed as they are.
var verbs map[string]verb

func init() { // The table names methods that use the table.
	verbs = map[string]verb{
		"USER": {class: classLogin, do: (*session).doUSER, noted: (*session).notedLogin},
		"PASS": {class: classLogin, noted: (*session).notedLogin},
		"ACCT": {class: classLogin, noted: (*session).notedLogin},
		"REIN": {class: classLogin, do: (*session).doREIN, noted: (*session).notedREIN},
		"QUIT": {class: classLogin},

		"PASV": {class: classSetup, from: loggedIn, do: (*session).doPASV, reply: (*session).replyPassive},
		"EPSV": {class: classSetup, from: loggedIn, do: (*session).doEPSV, reply: (*session).replyPassive},
		"PORT": {class: classSetup, from: loggedIn, do: (*session).doPORT, reply: (*session).replyActive},
		"EPRT": {class: classSetup, from: loggedIn, do: (*session).doEPRT, reply: (*session).replyActive},

		"RETR": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: download},
		"LIST": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: download},
		"NLST": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: download},
		"MLSD": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: download},
		"STOR": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: upload},
		"STOU": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: upload},
		"APPE": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: upload},

		"ABOR": {class: classControl, do: (*session).doABOR, noted: (*session).notedABOR},
		"STAT": {class: classControl},
		"NOOP": {class: classControl},
		"FEAT": {class: classControl, reply: (*session).replyFEAT},
		"MODE": {class: classControl, do: (*session).doMODE},
		"SYST": {class: classControl}, "HELP": {class: classControl}, "OPTS": {class: classControl},
		"TYPE": {class: classControl}, "STRU": {class: classControl}, "ALLO": {class: classControl},
		"SITE": {class: classOther},

		"REST": {class: classFile}, "RNFR": {class: classFile}, "RNTO": {class: classFile}, "DELE": {class: classFile},
		"CWD": {class: classFile}, "CDUP": {class: classFile}, "PWD": {class: classFile},
		"MKD": {class: classFile}, "RMD": {class: classFile}, "SIZE": {class: classFile},
		"MDTM": {class: classFile}, "MLST": {class: classFile}, "MFMT": {class: classFile},

		// These are between the client and ftproxy, which says its own to the
		// server: behind a server's it would be blind to addresses (H69).
		"AUTH": {class: classSecurity, do: (*session).doAUTH},
		"PBSZ": {class: classSecurity, do: (*session).doPBSZ, reply: (*session).replyLevel},
		"PROT": {class: classSecurity, do: (*session).doPROT, reply: (*session).replyLevel},
		"CCC":  {class: classSecurity, do: (*session).doCCC},
		// Commands within a protected channel cannot be rewritten (H80).
		"ADAT": {class: classSecurity, do: refused(502, "Not available through a proxy.")},
		"MIC":  {class: classSecurity, do: refused(502, "Not available through a proxy.")},
		"CONF": {class: classSecurity, do: refused(502, "Not available through a proxy.")},
		"ENC":  {class: classSecurity, do: refused(502, "Not available through a proxy.")},

		// These set up data connections in ways that a relay cannot follow (H42).
		"SPSV": {class: classSetup, do: refused(502, "Use EPSV or PASV.")},
		"LPSV": {class: classSetup, do: refused(502, "Use EPSV or PASV.")},
		"CPSV": {class: classSetup, do: refused(502, "Use EPSV or PASV.")},
		"LPRT": {class: classSetup, do: refused(502, "Use EPRT or PORT.")},
		"SSCN": {class: classSetup, do: refused(502, "Not available through a proxy.")},
		"ESTP": {class: classSetup, do: refused(502, "Not available through a proxy.")},
		"ESTA": {class: classSetup, do: refused(502, "Not available through a proxy.")},
	}
}

// refused is the do of a verb that never reaches the server.
func refused(code int, text string) func(*session, *queued) error {
	return func(*session, *queued) error { return refuse(code, text, nil) }
}

// classOf names a verb's class for the metrics, whatever the client sent.
func classOf(name string) string {
	if v, known := verbs[name]; known {
		return string(v.class)
	}
	return string(classOther)
}

// dispatch does one command whose turn has come.
func (s *session) dispatch(q *queued) error {
	if q.sent { // An ABOR that overtook others: only its reply was due.
		s.client.out = append(s.client.out, q.answer...)
		return nil
	}
	err := s.do(q)
	var r *refusal
	if errors.As(err, &r) {
		s.log.Debug().Verb(q.Verb).Err(r).Msg("command refused")
	}
	return s.answerRefusal(err)
}

func (s *session) do(q *queued) error {
	if q.Fault != nil {
		return refuse(q.Fault.Code, q.Fault.Text, nil)
	}
	v, known := verbs[q.Verb]
	switch {
	case s.fe.tls != nil && !s.security.client && !beforeAUTH[q.Verb]:
		if s.fe.tls.required() {
			return refuse(530, "Use AUTH TLS first.", nil)
		}
		s.security.late = true
	}
	s.fill = q.fill
	switch {
	case known && s.stage < v.from:
		return refuse(530, "Please log in with USER and PASS.", nil)
	case v.do != nil:
		return v.do(s, q)
	}
	return s.forward(q)
}

// overtake acts on a command that does not wait for the one under way: ABOR
// during a transfer or while a data port is waited for, QUIT in the latter
// case, STAT without argument during a transfer (RFC 959 §4.1.3, H31). It
// reports whether the command is done with; QUIT still takes its turn.
func (s *session) overtake(c ftp.Command) (done bool, err error) {
	switch {
	case c.Fault != nil:
		return false, nil
	case s.wait != nil && (c.Verb == "ABOR" || c.Verb == "QUIT"):
		s.wait.cancel()
		return false, nil
	case s.transfer == nil:
		return false, nil
	case c.Verb == "ABOR" && !s.transfer.aborted:
		return true, s.abortTransfer(c)
	case c.Verb == "STAT" && strings.TrimSpace(string(c.Arg)) == "" && len(s.queue) == 0:
		s.sayProgress()
		return true, nil
	}
	return false, nil
}

// doMODE lets stream mode through. In block and compressed mode the data
// connection outlives the transfer and its end is in the data, so a relay that
// waits for the close would hang; deflate (MODE Z) is refused with them (H43).
func (s *session) doMODE(q *queued) error {
	if mode := strings.TrimSpace(string(q.Arg)); !strings.EqualFold(mode, "S") {
		return refuse(504, "Only MODE S is available.", nil)
	}
	return s.forward(q)
}
