package proxy

import (
	"errors"
	"strings"

	"ftproxy/internal/ftp"
	"ftproxy/internal/transfer"
)

// A verb is a row of the table below.
type verb struct {
	// class is empty where all that ftproxy knows of the verb are its flags: it is
	// relayed like one that is not in the table, and may move data.
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
	// overtake acts on the command when it is read while another one is under way.
	// It reports whether the command is done with; if not, the command also waits
	// for its turn. nil: it only waits.
	overtake func(*session, ftp.Command) (done bool, err error)
	// direction is that of a transfer verb's data.
	direction transfer.Direction
	flags     flags
}

// flags are what else is known of a verb.
type flags uint16

const (
	// beforeAUTH: a client may say the verb in the clear where AUTH is required. Most
	// leave nothing with the server. OPTS, CLNT, CSID and LANG do, but choose no more
	// than the letters and the language of replies.
	beforeAUTH flags = 1 << iota
	// forgotten: the verb may come before AUTH, but what it leaves with the server must
	// not count after it (session.noteClear).
	forgotten
	// secret: the argument is never logged, also where no blank stands before it.
	secret
	// paired: after a 3xx nothing may come between this command and the client's
	// next one (RFC 959 §4.1.3, H33).
	paired
	// crosses: clients say the verb without waiting for a reply (RFC 959 §4.1.3), so
	// it does not prove that they have read one.
	crosses
	// writes: the command may change the server's files. Of SITE only some
	// subcommands do, and of MDTM some servers' form with a time, which has no flag.
	writes
	// hiddenInFEAT: the server's feature of this name does not exist here. Either the
	// verb is refused, or ftproxy adds a feature of its own (session.features).
	hiddenInFEAT
	// lists: the reply is a list. Some servers begin it with a blank after the code, as if
	// the first line were all of it ("211 Features:").
	lists
	// kept: said before there is a server (deferred.go), the command may be answered and said
	// to the server later, if every server has the feature.
	kept
)

// has tells whether the verb has a flag.
func (v verb) has(f flags) bool { return v.flags&f != 0 }

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

// verbs is everything ftproxy understands: all that it knows of a verb is in its
// row. Other verbs, and their replies, are relayed as they are.
var verbs map[string]verb

func init() { // The table names methods that use the table.
	verbs = map[string]verb{
		"USER": {class: classLogin, do: (*session).doUSER, noted: (*session).notedLogin},
		"PASS": {class: classLogin, noted: (*session).notedLogin, flags: secret},
		"ACCT": {class: classLogin, noted: (*session).notedLogin, flags: secret},
		"REIN": {class: classLogin, do: (*session).doREIN, noted: (*session).notedREIN},
		"HOST": {class: classControl, flags: beforeAUTH | forgotten},
		"QUIT": {class: classLogin, overtake: (*session).overtakeQUIT, flags: beforeAUTH | crosses},

		"PASV": {class: classSetup, from: loggedIn, do: (*session).doPASV, reply: (*session).replyPassive},
		"EPSV": {class: classSetup, from: loggedIn, do: (*session).doEPSV, reply: (*session).replyPassive},
		"PORT": {class: classSetup, from: loggedIn, do: (*session).doPORT, reply: (*session).replyActive},
		"EPRT": {class: classSetup, from: loggedIn, do: (*session).doEPRT, reply: (*session).replyActive},

		"RETR": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: transfer.Download},
		"LIST": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: transfer.Download},
		"NLST": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: transfer.Download},
		"MLSD": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: transfer.Download},
		"STOR": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: transfer.Upload, flags: writes},
		"STOU": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: transfer.Upload, flags: writes},
		"APPE": {class: classTransfer, from: loggedIn, do: (*session).doTransfer, direction: transfer.Upload, flags: writes},

		"ABOR": {class: classControl, do: (*session).doABOR, noted: (*session).notedABOR,
			overtake: (*session).overtakeABOR, flags: beforeAUTH | crosses},
		"STAT": {class: classControl, overtake: (*session).overtakeSTAT, flags: beforeAUTH | crosses},
		"NOOP": {class: classControl, flags: beforeAUTH | crosses},
		"FEAT": {class: classControl, reply: (*session).replyFEAT, flags: beforeAUTH | lists},
		"MODE": {class: classControl, do: (*session).doMODE},
		"SYST": {class: classControl, flags: beforeAUTH},
		"HELP": {class: classControl, flags: beforeAUTH | lists},
		"OPTS": {class: classControl, flags: beforeAUTH | kept},
		"TYPE": {class: classControl}, "STRU": {class: classControl}, "ALLO": {class: classControl},
		"SITE": {class: classOther, flags: writes}, // internal/logline knows its secrets.

		"REST": {class: classFile, flags: paired},
		"RNFR": {class: classFile, flags: paired | writes}, "RNTO": {class: classFile, flags: writes},
		"DELE": {class: classFile, flags: writes}, "MFMT": {class: classFile, flags: writes},
		"MKD": {class: classFile, flags: writes}, "RMD": {class: classFile, flags: writes},
		"CWD": {class: classFile}, "CDUP": {class: classFile}, "PWD": {class: classFile},
		"SIZE": {class: classFile}, "MDTM": {class: classFile}, "MLST": {class: classFile},

		// These are between the client and ftproxy, which says its own to the
		// server: TLS from client to server would hide the addresses from it (H69).
		"AUTH": {class: classSecurity, do: (*session).doAUTH, flags: beforeAUTH | secret | hiddenInFEAT},
		"PBSZ": {class: classSecurity, do: (*session).doPBSZ, reply: (*session).replyPBSZ, flags: beforeAUTH | hiddenInFEAT},
		"PROT": {class: classSecurity, do: (*session).doPROT, reply: (*session).replyPROT, flags: beforeAUTH | hiddenInFEAT},
		"CCC":  {class: classSecurity, do: (*session).doCCC, flags: beforeAUTH | hiddenInFEAT},
		// Commands within a protected channel cannot be rewritten (H80).
		"ADAT": {class: classSecurity, do: refused(502, "Not available through a proxy."), flags: beforeAUTH | secret | hiddenInFEAT},
		"MIC":  {class: classSecurity, do: refused(502, "Not available through a proxy."), flags: beforeAUTH | hiddenInFEAT},
		"CONF": {class: classSecurity, do: refused(502, "Not available through a proxy."), flags: beforeAUTH | hiddenInFEAT},
		"ENC":  {class: classSecurity, do: refused(502, "Not available through a proxy."), flags: beforeAUTH | hiddenInFEAT},

		// These set up data connections in ways that a relay cannot follow (H42).
		"SPSV": {class: classSetup, do: refused(502, "Use EPSV or PASV."), flags: hiddenInFEAT},
		"LPSV": {class: classSetup, do: refused(502, "Use EPSV or PASV."), flags: hiddenInFEAT},
		"CPSV": {class: classSetup, do: refused(502, "Use EPSV or PASV."), flags: hiddenInFEAT},
		"LPRT": {class: classSetup, do: refused(502, "Use EPRT or PORT."), flags: hiddenInFEAT},
		"SSCN": {class: classSetup, do: refused(502, "Not available through a proxy."), flags: hiddenInFEAT},
		"ESTP": {class: classSetup, do: refused(502, "Not available through a proxy."), flags: hiddenInFEAT},
		"ESTA": {class: classSetup, do: refused(502, "Not available through a proxy."), flags: hiddenInFEAT},

		// Only their flags are known.
		"CLNT": {flags: beforeAUTH | kept}, "CSID": {flags: beforeAUTH}, "LANG": {flags: beforeAUTH},
		"XMKD": {flags: writes}, "XRMD": {flags: writes}, // RFC 775
		"MFCT": {flags: writes}, "MFF": {flags: writes}, "COMB": {flags: writes},
	}
}

// refused is the do of a verb that never reaches the server.
func refused(code int, text string) func(*session, *queued) error {
	return func(*session, *queued) error { return refuse(code, text, nil) }
}

// classOf names a verb's class for the metrics, whatever the client sent.
func classOf(name string) string {
	if v := verbs[name]; v.class != "" {
		return string(v.class)
	}
	return string(classOther)
}

// dispatch does one command whose turn has come.
func (s *session) dispatch(q *queued) error {
	if q.sent { // An ABOR that overtook others: only its reply was due.
		s.client.Out = append(s.client.Out, q.answer...)
		return nil
	}
	if q.replayed {
		_, err := s.send(q.Command, new(exchange))
		return err
	}
	err := s.do(q)
	var r *refusal
	if errors.As(err, &r) {
		s.tellRefused(q.Verb, r)
	}
	return s.answerRefusal(err)
}

func (s *session) do(q *queued) error {
	if q.Fault != nil {
		return refuse(q.Fault.Code, q.Fault.Text, nil)
	}
	v := verbs[q.Verb]
	if s.fe.tls.Required() && !s.client.secured() && !v.has(beforeAUTH) {
		return refuseAdvised(530, "Use AUTH TLS first.", nil,
			`the client speaks in the clear: set it to explicit TLS (FTPES), or write mode = "optional" in [frontend.`+s.fe.name+`.tls]`)
	}
	s.client.saidAt = q.fill
	if s.stage < v.from {
		return refuse(530, "Please log in with USER and PASS.", nil)
	}
	if s.server == nil {
		return s.doDeferred(q, v)
	}
	s.noteClear(v)
	switch {
	case v.do != nil && v.class == classSetup:
		err := v.do(s, q)
		s.data.givenUp = s.data.givenUp || err != nil // The client may not look at our refusal.
		return err
	case v.do != nil:
		return v.do(s, q)
	}
	return s.forward(q)
}

// overtake acts on a command that does not wait for the one under way (RFC 959
// §4.1.3, H31). It reports whether the command is done with.
func (s *session) overtake(c ftp.Command) (done bool, err error) {
	row := verbs[c.Verb]
	if row.overtake == nil || c.Fault != nil {
		return false, nil
	}
	return row.overtake(s, c)
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
