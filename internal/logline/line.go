// Package logline writes the lines of the log, so that no peer can write in them what it
// likes: each field says whose words it holds, what quotes a secret is withheld, and
// lines that a peer can cause at will are summed up once a minute.
package logline

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/internal/ftp"
)

// A Line is a line of the log that is being written. What is said in it tells
// whose words they are, so that a new line cannot show a peer's as they came: a
// word is ours, Text is a peer's, and a client's names and paths are masked. Peers'
// texts are quoted and cut (ftp.Quote), and where they quote a secret of the
// session, withheld.
//
// The zero value is a line that is not written.
type Line struct {
	event   *zerolog.Event
	verbs   Verbs
	secrets *Secrets // nil: none
}

// A Word is a text of ours: no peer has a part in it.
type Word string

// Masked is a text of the client's that may stand in the log: [Secrets.Show] makes it.
type Masked string

func (l Line) Msg(message string) { l.event.Msg(message) }

func (l Line) Str(key string, text Word) Line {
	l.event = l.event.Str(key, string(text))
	return l
}

// Text is a text that a peer has filled.
func (l Line) Text(key, text string) Line {
	if l.event.Enabled() {
		l.event = l.event.Str(key, l.secrets.cleanText(text))
	}
	return l
}

func (l Line) Masked(key string, text Masked) Line {
	l.event = l.event.Str(key, string(text))
	return l
}

// Verb is that of a command, whoever has sent it.
func (l Line) Verb(verb string) Line {
	if l.event.Enabled() {
		l.event = l.event.Str("verb", string(l.verbs.Show(verb, l.secrets)))
	}
	return l
}

// Err is AnErr, with the key that most errors have.
func (l Line) Err(err error) Line { return l.AnErr("error", err) }

// AnErr is an error, whose text may quote a peer. Without one there is no field.
func (l Line) AnErr(key string, err error) Line {
	if err != nil && l.event.Enabled() {
		l.event = l.event.Str(key, l.secrets.cleanError(err))
	}
	return l
}

// AddrPort is an address. Unlike Stringer it costs no memory.
func (l Line) AddrPort(key string, addr netip.AddrPort) Line {
	switch {
	case !addr.IsValid():
		return l.Stringer(key, addr)
	case l.event.Enabled():
		var text [64]byte
		l.event = l.event.Bytes(key, addr.AppendTo(text[:0]))
	}
	return l
}

// Stringer is a value of ours, such as an address.
func (l Line) Stringer(key string, v fmt.Stringer) Line {
	l.event = l.event.Stringer(key, v)
	return l
}

func (l Line) Addrs(key string, addrs []netip.Addr) Line {
	l.event = l.event.Any(key, addrs)
	return l
}

func (l Line) Int(key string, n int) Line {
	l.event = l.event.Int(key, n)
	return l
}

func (l Line) Int64(key string, n int64) Line {
	l.event = l.event.Int64(key, n)
	return l
}

func (l Line) Bool(key string, b bool) Line {
	l.event = l.event.Bool(key, b)
	return l
}

func (l Line) Dur(key string, d time.Duration) Line {
	l.event = l.event.Dur(key, d)
	return l
}

func (l Line) Time(key string, t time.Time) Line {
	l.event = l.event.Time(key, t)
	return l
}

// Withholding has the line withhold what quotes one of these secrets.
func (l Line) Withholding(s *Secrets) Line {
	l.secrets = s
	return l
}

// Written tells whether the line will be written at all.
func (l Line) Written() bool { return l.event.Enabled() }

// A Log begins lines.
type Log struct {
	Logger zerolog.Logger
	Verbs  Verbs
}

func (l Log) Debug() Line { return l.begin(l.Logger.Debug()) }
func (l Log) Info() Line  { return l.begin(l.Logger.Info()) }
func (l Log) Warn() Line  { return l.begin(l.Logger.Warn()) }
func (l Log) Error() Line { return l.begin(l.Logger.Error()) }

func (l Log) begin(e *zerolog.Event) Line { return Line{event: e, verbs: l.Verbs} }

// A peerError is an error whose text a peer has filled, with its reply or the names
// in its certificate: of it no more is shown than of any text of a peer's.
type peerError struct{ error }

// PeerError says of an error that a peer has filled its text.
func PeerError(err error) error { return peerError{err} }

// PeerText is an error with the text of a peer.
func PeerText(text string) error { return peerError{errors.New(text)} }

func (e peerError) Error() string { return ftp.Quote([]byte(e.error.Error())) }
func (e peerError) Unwrap() error { return e.error }
