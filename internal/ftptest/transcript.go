package ftptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A transcript is what happened in a dialogue, in order, for the reader of a
// failure.
type transcript struct {
	began time.Time

	mu    sync.Mutex
	lines []string
}

func (t *transcript) add(n name, format string, args ...any) {
	line := fmt.Sprintf("%-8v %-15v %s", time.Since(t.began), n, fmt.Sprintf(format, args...))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}

// quote is strconv.Quote for bytes of which there may be many.
func quote(b []byte) string {
	const show = 160
	if len(b) <= show {
		return strconv.Quote(string(b))
	}
	return fmt.Sprintf("%q... (%d bytes)", b[:show], len(b))
}

// logLines collects what the proxy logs.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// has reports whether one line has the message and the fields.
func (l *logLines) has(message string, fields []field) bool {
	for line := range strings.Lines(l.String()) {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var got map[string]any
		if d.Decode(&got) == nil && logValue(got["message"]) == message && hasFields(got, fields) {
			return true
		}
	}
	return false
}

func hasFields(got map[string]any, fields []field) bool {
	for _, f := range fields {
		v := logValue(got[f.key])
		if v != f.value && !(f.open && strings.HasPrefix(v, f.value)) {
			return false
		}
	}
	return true
}

// logValue writes a JSON value as a dialogue does: strings without quotes,
// what is not there as "".
func logValue(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	b, _ := json.Marshal(v) // It came from JSON.
	return string(b)
}
