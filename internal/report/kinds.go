package report

import "ftproxy/internal/logline"

// Lines that a peer can cause at will.
var (
	Stranger          = &logline.Kind{Message: "data connection of a stranger closed", About: "side", Lines: 1}
	TooLate           = &logline.Kind{Message: "data connection came too late", About: "side", Lines: 1}
	Crowded           = &logline.Kind{Message: "too many connections wait to prove whose they are", About: "side", Lines: 1}
	SessionRefused    = &logline.Kind{Message: "session refused", About: "frontend", Detail: "limit", Lines: 1}
	HeaderUnusable    = &logline.Kind{Message: "connection without a usable PROXY header", About: "frontend", Detail: "reason", Lines: 1}
	NotReused         = &logline.Kind{Message: "data connection without its TLS session refused", About: "frontend", Lines: 1}
	Unsolicited       = &logline.Kind{Message: "unsolicited reply dropped", About: "backend", Lines: 1}
	StrayLine         = &logline.Kind{Message: "line that is no reply", About: "backend", Lines: 1}
	EndlessReply      = &logline.Kind{Message: "reply too long", About: "backend", Lines: 1}
	ProtectionRefused = &logline.Kind{Message: "the server refuses protection", About: "backend", Lines: 1}
	NoTickets         = &logline.Kind{Message: "the server gives no TLS session tickets, and its data connections fail", About: "backend", Lines: 1}
	Renegotiates      = &logline.Kind{Message: "the server asks for TLS renegotiation, which ends its data connection", About: "backend", Lines: 1}
	NoConnection      = &logline.Kind{Message: "no data connection", About: "frontend", Lines: 1}
	NoPort            = &logline.Kind{Message: "no data port", About: "frontend", Lines: 1}
	ServerUnusable    = &logline.Kind{Message: "server not usable", About: "backend", Lines: 10}
	ClientAbsent      = &logline.Kind{Message: "the client did not connect to its data port", About: "frontend", Lines: 1}
	ClientUnreachable = &logline.Kind{Message: "the client's data port is unreachable", About: "frontend", Lines: 1}
	ServerAbsent      = &logline.Kind{Message: "the server did not connect to its data port", About: "backend", Lines: 1}
	ServerUnreachable = &logline.Kind{Message: "the server's data port is unreachable", About: "backend", Lines: 1}
	SetupRefused      = &logline.Kind{Message: "the server refuses the data connection", About: "backend", Lines: 1}
	TransferWantsTLS  = &logline.Kind{Message: "the server refuses a data connection without TLS", About: "backend", Lines: 1}
	ServerLeaves      = &logline.Kind{Message: "the server ends the session before the login", About: "backend", Lines: 1}
	CommandRefused    = &logline.Kind{Message: "command refused", About: "frontend", Detail: "code", Lines: 1}
	HandshakeFailed   = &logline.Kind{Message: "TLS with the client failed", About: "frontend", Lines: 1}
	DataLost          = &logline.Kind{Message: "data connection lost before the command", About: "frontend", Lines: 1}
	// Who guesses passwords is told of by each name, as long as one can read it.
	LoginFailed = &logline.Kind{Message: "login failed", About: "frontend", Lines: 10}
)
