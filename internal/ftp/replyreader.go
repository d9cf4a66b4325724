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

// What may stand between two replies and be none: blank lines, and lines without a code.
// A server that sends them for ever would never be heard of, and take a core.
const (
	maxStray      = 1000
	maxStrayBytes = 64 << 10
)

// A ReplyReader cuts what a server sends into the lines of its replies.
//
// A reply of several lines begins with "ddd-" and ends with the first line
// that is the same code and a space, or the bare code; whatever stands between
// belongs to it, blank lines and other codes too (RFC 959 §4.2). Lines end
// with LF and any CRs and NULs around it. Blanks, and Telnet commands, before the code are
// taken off. A line that begins no reply is returned with Code 0. Blank lines between
// replies are skipped. Both must be few.
type ReplyReader struct {
	in         lineBuffer
	code       int  // of the reply whose last line is still to come, or 0; not for Fill
	indented   bool // blanks stood before the code of that reply
	replied    bool // a reply has come
	stray      int  // lines since the last reply
	strayBytes int
	err        error // an ErrReplySyntax or ErrLineTooLong stays
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
		switch err := r.Fill(); {
		case err == io.EOF && r.code != 0:
			return ReplyLine{}, io.ErrUnexpectedEOF
		case err != nil:
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
	for {
		text, whole := r.in.line()
		switch {
		case !whole && len(r.in.pending()) > MaxReplyLine:
			r.err = ErrLineTooLong
			return l, false, r.err
		case !whole:
			return l, false, nil
		}
		text = trimEnd(text)
		if r.code == 0 && isBlank(text) {
			if r.err = r.count(text); r.err != nil {
				return l, false, r.err
			}
			continue
		}
		if l, r.err = r.parse(text); r.err != nil {
			return ReplyLine{}, false, r.err
		}
		l.More, l.Loose = r.ahead()
		return l, true, nil
	}
}

// Fill waits for bytes, after Next has found too few. Its errors are those of
// the io.Reader; io.ErrUnexpectedEOF says that the last line had no end.
func (r *ReplyReader) Fill() error {
	err := r.in.fill()
	if err == io.EOF && !isBlank(r.in.pending()) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// End ends the reply that is under way, whose last line has another code: what
// follows is another reply. It may be called while Fill waits.
func (r *ReplyReader) End() { r.code = 0 }

// Buffered returns the number of bytes that were read and belong to no line
// returned so far.
func (r *ReplyReader) Buffered() int { return len(r.in.pending()) }

// Switch goes on with another stream, such as that of TLS on the same connection.
// Nothing may be buffered.
func (r *ReplyReader) Switch(in io.Reader) { r.in.r, r.in.err = in, nil }

// count counts a line between two replies.
func (r *ReplyReader) count(text []byte) error {
	r.stray++
	if r.strayBytes += len(text); r.stray > maxStray || r.strayBytes > maxStrayBytes {
		return fmt.Errorf("%w: more than %d lines or %d bytes between two replies", ErrReplySyntax, maxStray, maxStrayBytes)
	}
	return nil
}

// parse reads a line of the reply that is under way, the first of a new one, or one
// that is neither.
func (r *ReplyReader) parse(text []byte) (ReplyLine, error) {
	under := r.code
	bare, indented := trimPrefix(text, under == 0 || r.indented)
	code, mark := parseCode(bare)
	if under == 0 && (code == 0 || mark == 0) {
		return r.parseStray(text)
	}
	l := ReplyLine{Code: under, First: under == 0}
	if l.First {
		l.Code, r.indented, r.replied = code, indented, true
		r.stray, r.strayBytes = 0, 0
	}
	if l.Last = code == l.Code && mark == ' '; l.Last {
		r.code = 0
	} else {
		r.code = l.Code
		if !l.First && mark == ' ' {
			l.Other = code
		}
	}
	if l.First || l.Last {
		text = bare
	}
	maskControls(text)
	switch {
	case l.Last && len(text) == 3:
		text = append(text, ' ') // over the CR or LF that followed
	case l.Last:
		text[3] = ' ' // a tab
	}
	l.Text = text
	return l, nil
}

// parseStray takes a line that begins no reply. Before the first reply it may show that
// the server speaks another protocol, whose words are waited for in vain.
func (r *ReplyReader) parseStray(text []byte) (ReplyLine, error) {
	if !r.replied && isForeign(text) {
		return ReplyLine{}, fmt.Errorf("%w: %s", ErrReplySyntax, Quote(text))
	}
	if err := r.count(text); err != nil {
		return ReplyLine{}, err
	}
	maskControls(text)
	return ReplyLine{Text: text}, nil
}

// isForeign tells the first words of servers that are often reached by mistake: SSH, a
// web server, TLS.
func isForeign(text []byte) bool {
	return bytes.HasPrefix(text, []byte("SSH-")) || bytes.HasPrefix(text, []byte("HTTP/")) ||
		len(text) > 0 && text[0] >= 0x14 && text[0] <= 0x17 // the types of TLS records
}

// parseCode returns the code a line begins with and what follows it: a space,
// which stands for a tab and for the end of the line, too, a hyphen, or 0 for anything
// else. The code is 0 where there is none of 100 to 999. RFC 2228 has some above 600.
func parseCode(text []byte) (code int, mark byte) {
	if len(text) < 3 || !isDigit(text[0]) || !isDigit(text[1]) || !isDigit(text[2]) || text[0] == '0' {
		return 0, 0
	}
	code = int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')
	switch {
	case len(text) == 3, text[3] == '\t':
		return code, ' '
	case text[3] == ' ' || text[3] == '-':
		return code, text[3]
	}
	return code, 0
}

// ahead tells whether Read has a line to return without waiting, and whether that one
// is a line without a code between two replies.
func (r *ReplyReader) ahead() (more, loose bool) {
	within := r.code != 0
	for p := r.in.pending(); ; {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return false, false
		}
		if line := trimEnd(p[:i]); within || !isBlank(line) {
			line, _ = trimPrefix(line, true)
			_, mark := parseCode(line)
			return true, !within && mark == 0
		}
		p = p[i+1:]
	}
}
