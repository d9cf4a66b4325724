package ftp

import (
	"bytes"
	"strconv"
	"strings"
)

// MaxReplyLine is the longest line a server may send, in bytes, the LF not
// counted.
const MaxReplyLine = 64 << 10

// A ReplyLine is one line of a server's reply, or one between two replies.
type ReplyLine struct {
	// Code is that of the reply, 100 to 999, on all of its lines: a line in
	// the middle may begin with any other digits. It is 0 for a line that belongs to
	// no reply.
	Code int
	// Other is the code of a line in the middle that would be the end of a reply
	// with that code: some servers end with another code than they begin with.
	Other int
	// First and Last mark the ends of the reply; a reply of one line has
	// both.
	First, Last bool
	// Text is the whole line as it came, its code included, without its line
	// ending and what stands before the code. A CR or NUL within it is replaced by '?',
	// and a last line that is a bare code has a space after it, as RFC 959 §4.2 wants. Text is
	// valid until the reader's next Read.
	Text []byte
	// More says that another whole line is already buffered: the next Read
	// does not wait. Loose says that this one has no code and stands between two
	// replies.
	More, Loose bool
}

// A Reply is a whole reply, for those that must be read whole. Its lines
// carry their codes and no line endings.
type Reply struct {
	Code  int
	Lines []string
}

// Add appends a copy of the next line of the reply.
func (r *Reply) Add(l ReplyLine) {
	r.Code = l.Code
	r.Lines = append(r.Lines, string(l.Text))
}

// Text returns the lines joined by "\n".
func (r Reply) Text() string { return strings.Join(r.Lines, "\n") }

// AppendLines appends the reply as it is sent to a client, each line with its
// CRLF. No line may hold a CR or LF of its own.
func (r Reply) AppendLines(b []byte) []byte {
	for _, line := range r.Lines {
		b = append(b, line...)
		b = append(b, '\r', '\n')
	}
	return b
}

// Class returns the first digit of a reply code: 1 preliminary, 2 completion,
// 3 intermediate, 4 transient negative, 5 permanent negative (RFC 959 §4.2), 6 protected
// (RFC 2228), and 7 to 9 of no RFC.
func Class(code int) int { return code / 100 }

// AppendReply appends a reply of our own: "226 text" and CRLF. Where text has
// several lines, separated by "\n", all carry the code, the last with a space
// and the others with a hyphen. A CR or NUL in text becomes '?'. The code must
// have three digits.
func AppendReply(b []byte, code int, text string) []byte {
	for more := true; more; {
		var line string
		line, text, more = strings.Cut(text, "\n")
		b = strconv.AppendInt(b, int64(code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		at := len(b)
		b = append(b, strings.TrimSuffix(line, "\r")...)
		maskControls(b[at:])
		b = append(b, '\r', '\n')
	}
	return b
}

// maskControls replaces, in place, the bytes that would end a line or a C
// string.
func maskControls(line []byte) {
	for _, c := range [...]byte{'\r', 0} {
		for rest := line; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = '?'
			rest = rest[i+1:]
		}
	}
}
