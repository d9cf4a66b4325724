package ftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrReplySyntax says that a server sent a line that begins no reply.
	ErrReplySyntax = errors.New("not an FTP reply")
	// ErrLineTooLong says that a server's line exceeds MaxReplyLine.
	ErrLineTooLong = errors.New("reply line too long")
)

// maxBlank is how many blank lines may stand between two replies. A server that sends
// them for ever would never be heard of, and take a core.
const maxBlank = 1000

// A ReplyReader cuts what a server sends into the lines of its replies.
//
// A reply of several lines begins with "ddd-" and ends with the first line
// that is the same code and a space, or the bare code; whatever stands between
// belongs to it, blank lines and other codes too (RFC 959 §4.2). Lines end
// with LF and any number of CRs before it. Blank lines between replies are
// skipped, as far as they are few.
type ReplyReader struct {
	in    lineBuffer
	code  int   // of the reply whose last line is still to come, or 0
	blank int   // lines since the last reply
	err   error // an ErrReplySyntax or ErrLineTooLong stays
}

// NewReplyReader returns a reader of r. It reads no more than one buffer
// ahead: 128 bytes, 4 KiB while these are filled, for a long line up to
// MaxReplyLine+1.
func NewReplyReader(r io.Reader) *ReplyReader {
	s := new(ReplyReader)
	s.in.init(r, MaxReplyLine)
	return s
}

// Read waits for one line and returns it. Behind an error that wraps
// ErrReplySyntax or ErrLineTooLong there are no replies any more, and Read
// returns the same error for good. Other errors are those of the io.Reader,
// io.EOF only between replies and io.ErrUnexpectedEOF within one; Read may be
// called again after one that passes, such as a timeout.
func (r *ReplyReader) Read() (ReplyLine, error) {
	for {
		if l, ok, err := r.Next(); ok || err != nil {
			return l, err
		}
		if err := r.Fill(); err != nil {
			return ReplyLine{}, err
		}
	}
}

// Next is Read that does not wait: without a whole line ok is false, and Fill
// reads more. The error is one of those that stay.
func (r *ReplyReader) Next() (l ReplyLine, ok bool, err error) {
	if r.err != nil {
		return l, false, r.err
	}
	text, ok := r.in.line()
	for ok {
		if text = bytes.TrimRight(text, "\r"); r.code != 0 || !isBlank(text) {
			break
		}
		if r.blank++; r.blank > maxBlank {
			r.err = fmt.Errorf("%w: more than %d blank lines", ErrReplySyntax, maxBlank)
			return ReplyLine{}, false, r.err
		}
		text, ok = r.in.line()
	}
	switch {
	case ok:
		r.blank = 0
		l, r.err = r.parse(text)
	case len(r.in.pending()) > MaxReplyLine:
		r.err = ErrLineTooLong
	}
	if r.err != nil || !ok {
		return ReplyLine{}, false, r.err
	}
	l.More = r.whole()
	return l, true, nil
}

// Fill waits for bytes, after Next has found too few. Its errors are those of
// the io.Reader, as Read has them.
func (r *ReplyReader) Fill() error {
	err := r.in.fill()
	if err == io.EOF && (r.code != 0 || !isBlank(r.in.pending())) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Buffered returns the number of bytes that were read and belong to no line
// returned so far.
func (r *ReplyReader) Buffered() int { return len(r.in.pending()) }

// Switch goes on with another stream, such as that of TLS on the same connection.
// Nothing may be buffered.
func (r *ReplyReader) Switch(in io.Reader) { r.in.r, r.in.err = in, nil }

// parse reads a line of the reply that is under way, or the first of a new
// one.
func (r *ReplyReader) parse(text []byte) (ReplyLine, error) {
	code, mark := parseCode(text)
	l := ReplyLine{Code: r.code, First: r.code == 0}
	if l.First {
		if code == 0 || mark == 0 {
			return ReplyLine{}, fmt.Errorf("%w: %s", ErrReplySyntax, Quote(text))
		}
		l.Code = code
	}
	if l.Last = code == l.Code && mark == ' '; l.Last {
		r.code = 0
	} else {
		r.code = l.Code
	}
	maskControls(text)
	if l.Last && len(text) == 3 {
		text = text[:4] // over the CR or LF that followed
		text[3] = ' '
	}
	l.Text = text
	return l, nil
}

// parseCode returns the code a line begins with and what follows it: a space,
// which stands for the end of the line, too, a hyphen, or 0 for anything else.
// The code is 0 where there is none of 100 to 599.
func parseCode(text []byte) (code int, mark byte) {
	if len(text) < 3 || !isDigit(text[1]) || !isDigit(text[2]) || text[0] < '1' || text[0] > '5' {
		return 0, 0
	}
	code = int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')
	switch {
	case len(text) == 3:
		return code, ' '
	case text[3] == ' ' || text[3] == '-':
		return code, text[3]
	}
	return code, 0
}

// whole reports whether Read has a line to return without waiting.
func (r *ReplyReader) whole() bool {
	for p := r.in.pending(); ; {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return false
		}
		if r.code != 0 || !isBlank(p[:i]) {
			return true
		}
		p = p[i+1:]
	}
}

func isBlank(line []byte) bool { return len(bytes.Trim(line, " \t\r")) == 0 }
