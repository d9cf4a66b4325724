package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/rs/zerolog"

	"ftproxy/config"
)

// timeFormat has the milliseconds that tell two events of one transfer apart.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// A logTarget is where a logger writes, and from which level on. Both may change
// while it is used.
type logTarget struct {
	out    io.Writer
	level  atomic.Int32
	format atomic.Pointer[io.Writer]
}

// newLogger logs to w as configured, and as the target is told later.
func newLogger(c config.Log, w io.Writer) (zerolog.Logger, *logTarget) {
	t := &logTarget{out: w}
	t.configure(c)
	return zerolog.New(t).Sample(t).Hook(zerolog.HookFunc(stamp)), t
}

func levelOf(c config.Log) zerolog.Level {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		return zerolog.InfoLevel // config lets no other word pass
	}
	return level
}

// lower has them write more, if c has a lower level.
func (t *logTarget) lower(c config.Log) {
	t.level.Store(min(t.level.Load(), int32(levelOf(c))))
}

// configure changes what the target's loggers write from now on.
func (t *logTarget) configure(c config.Log) {
	t.level.Store(int32(levelOf(c)))
	w := io.Writer(escapingWriter{t.out})
	if c.Format == "console" {
		w = zerolog.ConsoleWriter{Out: t.out, NoColor: os.Getenv("NO_COLOR") != "" || !attended(t.out), FormatTimestamp: func(t any) string {
			return fmt.Sprint(t)
		}}
	}
	t.format.Store(&w)
}

// Sample tells whether a line of this level is written.
func (t *logTarget) Sample(level zerolog.Level) bool { return level >= zerolog.Level(t.level.Load()) }

func (t *logTarget) Write(line []byte) (int, error) { return (*t.format.Load()).Write(line) }

func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().Format(timeFormat))
}

// An escapingWriter takes lines of JSON and escapes what JSON allows in a
// string and a terminal or a log reader acts on: DEL, the C1 controls (U+009B
// begins an escape sequence, U+0085 ends a line), U+2028 and U+2029, and formats
// (U+202E turns round what follows). zerolog escapes the controls below U+0020.
// Peers' texts have none of them left (ftp.Quote); files' names may.
type escapingWriter struct{ w io.Writer }

// Write reports all of line as written, although it may have written more.
func (e escapingWriter) Write(line []byte) (int, error) {
	if isPlain(line) || !bytes.ContainsFunc(line, actedOn) {
		return e.w.Write(line)
	}
	var b bytes.Buffer
	for _, r := range string(line) {
		if actedOn(r) {
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
			continue
		}
		b.WriteRune(r)
	}
	if _, err := e.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}

// isPlain tells whether line has none of these, by looking at bytes alone.
func isPlain(line []byte) bool {
	for _, b := range line {
		if b >= 0x7f {
			return false
		}
	}
	return true
}

func actedOn(r rune) bool {
	return r == 0x7f || r > 0x7f && unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Cf, unicode.Co)
}
