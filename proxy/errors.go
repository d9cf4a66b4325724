package proxy

import (
	"fmt"

	"ftproxy/internal/transfer"
)

// A refusal is answered to the client and the session goes on. Its text tells
// nothing of our network; the cause is for the log alone and may be nil.
type refusal struct {
	code  int
	text  string
	cause error
	check string // what an administrator should look at; empty: nothing
}

func refuse(code int, text string, cause error) error {
	return &refusal{code: code, text: text, cause: cause}
}

// refuseAdvised is refuse for what an administrator will be asked about.
func refuseAdvised(code int, text string, cause error, check string) error {
	return &refusal{code: code, text: text, cause: cause, check: check}
}

func (r *refusal) Error() string {
	if r.cause == nil {
		return fmt.Sprintf("%d %s", r.code, r.text)
	}
	return fmt.Sprintf("%d %s: %v", r.code, r.text, r.cause)
}

func (r *refusal) Unwrap() error { return r.cause }

// An ending ends the session. Where text is set the client gets it as 421,
// the code that RFC 959 §5.4 allows at any time.
type ending struct {
	reason string // for log and metrics, one of the reasons below
	text   string
	cause  error
}

// Why sessions end.
const (
	endQuit        = "quit"           // QUIT was answered
	endClientGone  = "client_gone"    // the client closed or reset its connection
	endClientSlow  = "client_write"   // the client did not read its replies
	endServerGone  = "server_gone"    // the server closed or reset its connection
	endServer421   = "server_421"     // the server ended the session
	endServerBad   = "server_syntax"  // the server sent what is no reply
	endTLS         = "tls"            // the client's TLS handshake failed, or commands came after AUTH, in the clear
	endUnsolicited = "unsolicited"    // too many unsolicited replies
	endNoServer    = "no_server"      // no server of the backend answered
	endPortUnused  = "port_unused"    // the client never used its data port, and others wait for it
	endLogin       = "login_timeout"  // timer login
	endIdle        = "idle_timeout"   // timer idle
	endReply       = "reply_timeout"  // timer reply or final_reply
	endShutdown    = "shutdown"       // the process leaves service
	endStopped     = "stopped"        // an administrator ended it
	endInternal    = "internal_error" // a fault of ours
)

// What clients are told when the process leaves service, and when they do not log in.
const (
	textShutdown     = "Service is shutting down."
	textLoginTimeout = "Login timeout, closing control connection."
)

func (e *ending) Error() string {
	if e.cause == nil {
		return e.reason
	}
	return fmt.Sprintf("%s: %v", e.reason, e.cause)
}

func (e *ending) Unwrap() error { return e.cause }

// Why a session ends, and its transfer with it.
var (
	errClientGone = transfer.ErrClientGone
	errServerGone = transfer.ErrServerGone
)
