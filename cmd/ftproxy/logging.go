package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
)

// timeFormat has the milliseconds that tell two events of one transfer apart.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// newLogger logs to w as configured.
func newLogger(c config.Log, w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel // config lets no other word pass
	}
	if c.Format == "console" {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !isTerminal(w), FormatTimestamp: func(t any) string {
			return fmt.Sprint(t)
		}}
	} else {
		w = escapingWriter{w}
	}
	return zerolog.New(w).Level(level).Hook(zerolog.HookFunc(stamp))
}

func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().Format(timeFormat))
}

// isTerminal tells whether colours would be seen.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// An escapingWriter takes lines of JSON and escapes what JSON allows in a
// string and a terminal or a log reader acts on: DEL, the C1 controls (U+009B
// begins an escape sequence, U+0085 ends a line), U+2028 and U+2029. zerolog
// escapes the controls below U+0020.
type escapingWriter struct{ w io.Writer }

// Write reports all of line as written, although it may have written more.
func (e escapingWriter) Write(line []byte) (int, error) {
	if isPlain(line) || !bytes.ContainsFunc(line, actedOn) {
		return e.w.Write(line)
	}
	var b bytes.Buffer
	for _, r := range string(line) {
		if actedOn(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
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
	return r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029
}
