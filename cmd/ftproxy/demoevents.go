package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// An eventWriter takes the log of the proxy, one JSON object per Write, and
// writes one line per event for people to read.
type eventWriter struct {
	out io.Writer
	now func() time.Time // nil: time.Now
}

func (w *eventWriter) Write(line []byte) (int, error) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return w.out.Write(line)
	}
	now := time.Now
	if w.now != nil {
		now = w.now
	}
	if _, err := fmt.Fprintf(w.out, "%s  %s\n", now().Format("15:04:05.000"), e.String()); err != nil {
		return 0, err
	}
	return len(line), nil
}

// An event is the fields of a log line.
type event map[string]any

// String tells the event in words. What it does not know it shows as it is, so
// that no event is lost.
func (e event) String() string {
	message, _ := e[zerolog.MessageFieldName].(string)
	switch message {
	case "session started":
		return fmt.Sprintf("%-12s connected from %s", e.text("session"), e.text("client"))
	case "session ended":
		return fmt.Sprintf("%-12s ended (%s) after %s%s", e.text("session"), e.text("reason"),
			e.milliseconds("duration"), e.optional(", ", "cause"))
	case "client protected":
		return fmt.Sprintf("%-12s protected by %s", e.text("session"), e.text("tls"))
	case "transfer":
		return e.transfer()
	case "stopping":
		return fmt.Sprintf("stopping (%s); running transfers have %s to end", e.text("cause"), e.text("drain"))
	}
	return e.generic(message)
}

func (e event) generic(message string) string {
	var b strings.Builder
	b.WriteString(clean(message))
	for _, key := range e.keys() {
		fmt.Fprintf(&b, " %s=%s", key, e.text(key))
	}
	return b.String()
}

// keys are the names of what an event carries apart from its frame.
func (e event) keys() []string {
	var keys []string
	for key := range e {
		switch key {
		case zerolog.MessageFieldName, zerolog.LevelFieldName, zerolog.TimestampFieldName:
		default:
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// text is a field as one word or a quoted text; "-" where it is missing.
func (e event) text(key string) string {
	switch v := e[key].(type) {
	case nil:
		return "-"
	case string:
		return clean(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return clean(fmt.Sprint(v))
	}
}

func (e event) optional(before, key string) string {
	if e[key] == nil || e[key] == "" {
		return ""
	}
	return before + e.text(key)
}

func (e event) milliseconds(key string) string {
	ms, _ := e[key].(float64)
	return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
}

// clean quotes a text that a terminal would not show as it is.
func clean(text string) string {
	if text == "" {
		return `""`
	}
	if quoted := strconv.Quote(text); quoted[1:len(quoted)-1] != text {
		return quoted
	}
	return text
}

// transfer tells what moved which way, how each side agreed on its data
// connection, and how it ended.
func (e event) transfer() string {
	return fmt.Sprintf("%-12s %s: %s%s, %s bytes in %s; client said %s%s, server was told %s%s; %s %s%s",
		e.text("session"), e.text("direction"), e.text("verb"), e.optional(" ", "path"),
		e.text("bytes"), e.milliseconds("duration"),
		e.text("client_mode"), e.optional(" with ", "client_data_tls"),
		e.text("server_mode"), e.optional(" with ", "server_data_tls"),
		e.text("code"), e.text("result"), e.optional(": ", "cause"))
}
