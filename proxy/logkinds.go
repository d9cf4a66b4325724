package proxy

import (
	"net/netip"

	"ftproxy/internal/logline"
)

// What the log's lines are made of, all over this package.
type (
	logLine = logline.Line
	word    = logline.Word
	masked  = logline.Masked
)

// Lines that a peer can cause at will.
var (
	stranger          = &logline.Kind{Message: "data connection of a stranger closed", About: "side", Lines: 1}
	tooLate           = &logline.Kind{Message: "data connection came too late", About: "side", Lines: 1}
	crowded           = &logline.Kind{Message: "too many connections wait to prove whose they are", About: "side", Lines: 1}
	sessionRefused    = &logline.Kind{Message: "session refused", About: "frontend", Detail: "limit", Lines: 1}
	headerUnusable    = &logline.Kind{Message: "connection without a usable PROXY header", About: "frontend", Detail: "reason", Lines: 1}
	notReused         = &logline.Kind{Message: "data connection without its TLS session refused", About: "frontend", Lines: 1}
	unsolicited       = &logline.Kind{Message: "unsolicited reply dropped", About: "backend", Lines: 1}
	strayLine         = &logline.Kind{Message: "line that is no reply", About: "backend", Lines: 1}
	endlessReply      = &logline.Kind{Message: "reply too long", About: "backend", Lines: 1}
	protectionRefused = &logline.Kind{Message: "the server refuses protection", About: "backend", Lines: 1}
	noTickets         = &logline.Kind{Message: "the server gives no TLS session tickets, and its data connections fail", About: "backend", Lines: 1}
	renegotiates      = &logline.Kind{Message: "the server asks for TLS renegotiation, which ends its data connection", About: "backend", Lines: 1}
	noConnection      = &logline.Kind{Message: "no data connection", About: "frontend", Lines: 1}
	noPort            = &logline.Kind{Message: "no data port", About: "frontend", Lines: 1}
	serverUnusable    = &logline.Kind{Message: "server not usable", About: "backend", Lines: 10}
	clientAbsent      = &logline.Kind{Message: "the client did not connect to its data port", About: "frontend", Lines: 1}
	clientUnreachable = &logline.Kind{Message: "the client's data port is unreachable", About: "frontend", Lines: 1}
	serverAbsent      = &logline.Kind{Message: "the server did not connect to its data port", About: "backend", Lines: 1}
	serverUnreachable = &logline.Kind{Message: "the server's data port is unreachable", About: "backend", Lines: 1}
	setupRefused      = &logline.Kind{Message: "the server refuses the data connection", About: "backend", Lines: 1}
	transferWantsTLS  = &logline.Kind{Message: "the server refuses a data connection without TLS", About: "backend", Lines: 1}
	serverLeaves      = &logline.Kind{Message: "the server ends the session before the login", About: "backend", Lines: 1}
	commandRefused    = &logline.Kind{Message: "command refused", About: "frontend", Detail: "code", Lines: 1}
	handshakeFailed   = &logline.Kind{Message: "TLS with the client failed", About: "frontend", Lines: 1}
	dataLost          = &logline.Kind{Message: "data connection lost before the command", About: "frontend", Lines: 1}
	// Who guesses passwords is told of by each name, as long as one can read it.
	loginFailed = &logline.Kind{Message: "login failed", About: "frontend", Lines: 10}
)

// often begins a line of kind k: see [logline.Summary].
func (p *Process) often(k *logline.Kind, about, detail string, peer netip.Addr) logLine {
	return p.repeats.Often(k, about, detail, peer)
}

// knownVerb tells the log what it has to know of a verb.
func knownVerb(name string) (known, isSecret bool) {
	row, known := verbs[name]
	return known, row.has(secret)
}

// secretVerbs finds what is secret in commands.
var secretVerbs logline.Verbs = knownVerb
