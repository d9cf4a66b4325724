package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/internal/ftp"
)

// A logLine is a line of the log that is being written. What is said in it tells
// whose words they are, so that a new line cannot show a peer's as they came: a
// word is ours, Text is a peer's, and a client's names and paths are masked. Peers'
// texts are quoted and cut (ftp.Quote), and where they quote a secret of the
// session, withheld.
//
// The zero value is a line that is not written.
type logLine struct {
	event   *zerolog.Event
	secrets *secrets // of the session; nil: none
}

// A word is a text of ours: no peer has a part in it.
type word string

// masked is a text of the client's that may stand in the log: sessionLog.show makes it.
type masked string

func (l logLine) Msg(message string) { l.event.Msg(message) }

func (l logLine) Str(key string, text word) logLine {
	l.event = l.event.Str(key, string(text))
	return l
}

// Text is a text that a peer has filled.
func (l logLine) Text(key, text string) logLine {
	if l.event.Enabled() {
		l.event = l.event.Str(key, l.secrets.cleanText(text))
	}
	return l
}

func (l logLine) Masked(key string, text masked) logLine {
	l.event = l.event.Str(key, string(text))
	return l
}

// Verb is that of a command, whoever has sent it.
func (l logLine) Verb(verb string) logLine {
	if l.event.Enabled() {
		l.event = l.event.Str("verb", string(l.secrets.showVerb(verb)))
	}
	return l
}

// Err is AnErr, with the key that most errors have.
func (l logLine) Err(err error) logLine { return l.AnErr("error", err) }

// AnErr is an error, whose text may quote a peer. Without one there is no field.
func (l logLine) AnErr(key string, err error) logLine {
	if err != nil && l.event.Enabled() {
		l.event = l.event.Str(key, l.secrets.cleanError(err))
	}
	return l
}

// Stringer is a value of ours, such as an address.
func (l logLine) Stringer(key string, v fmt.Stringer) logLine {
	l.event = l.event.Stringer(key, v)
	return l
}

func (l logLine) Addrs(key string, addrs []netip.Addr) logLine {
	l.event = l.event.Any(key, addrs)
	return l
}

func (l logLine) Int(key string, n int) logLine {
	l.event = l.event.Int(key, n)
	return l
}

func (l logLine) Int64(key string, n int64) logLine {
	l.event = l.event.Int64(key, n)
	return l
}

func (l logLine) Bool(key string, b bool) logLine {
	l.event = l.event.Bool(key, b)
	return l
}

func (l logLine) Dur(key string, d time.Duration) logLine {
	l.event = l.event.Dur(key, d)
	return l
}

func (l logLine) Time(key string, t time.Time) logLine {
	l.event = l.event.Time(key, t)
	return l
}

// processLog begins the lines that belong to no session.
type processLog struct{ log zerolog.Logger }

func (p processLog) Debug() logLine { return logLine{event: p.log.Debug()} }
func (p processLog) Info() logLine  { return logLine{event: p.log.Info()} }
func (p processLog) Warn() logLine  { return logLine{event: p.log.Warn()} }
func (p processLog) Error() logLine { return logLine{event: p.log.Error()} }

// A peerError is an error whose text a peer has filled, with its reply or the names
// in its certificate: of it no more is shown than of any text of a peer's.
type peerError struct{ error }

func peerText(text string) error { return peerError{errors.New(text)} }

func (e peerError) Error() string { return ftp.Quote([]byte(e.error.Error())) }
func (e peerError) Unwrap() error { return e.error }

// written tells whether the line will be written at all.
func (l logLine) written() bool { return l.event.Enabled() }
