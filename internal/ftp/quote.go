package ftp

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a log line holds of one text, in bytes of what is written.
const (
	// MaxQuoted is for a text that a peer has filled: a command line has 4 KiB
	// and a reply line 64 KiB, and a client that sends many would fill the disk.
	MaxQuoted = 256
	// MaxQuotedError is for an error. It may quote several peers, each with at
	// most MaxQuoted bytes, and ends in what to do about it.
	MaxQuotedError = 1024
)

// Quote returns b for a log: printable UTF-8 as it is, everything else, and
// the backslash, escaped as in Go. So a peer can neither forge a line of a log
// nor move the cursor of who reads it, nor hide or turn round a part of the
// line (U+202E). Of a long text the first MaxQuoted bytes are left, and how
// many of b's are missing: "abc…(+4321 bytes)".
func Quote(b []byte) string { return quote(string(b), true, MaxQuoted) }

// QuoteError is Quote for the text of an error, which may hold what Quote has
// returned: a backslash stays as it is, and the lines of joined errors become
// one. It is cut at MaxQuotedError bytes.
func QuoteError(text string) string {
	return quote(strings.ReplaceAll(text, "\n", "; "), false, MaxQuotedError)
}

func quote(text string, backslash bool, limit int) string {
	if plain(text) && len(text) <= limit {
		return text
	}
	out := make([]byte, 0, min(len(text), limit))
	for len(text) > 0 {
		at := len(out)
		c, n := utf8.DecodeRuneInString(text)
		switch {
		case c == utf8.RuneError && n == 1:
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'x', hex[text[0]>>4], hex[text[0]&15])
		case c == '\\' && !backslash, c != '\\' && visible(c):
			out = append(out, text[:n]...)
		default:
			q := strconv.AppendQuoteRuneToASCII(nil, c)
			out = append(out, q[1:len(q)-1]...)
		}
		if len(out) > limit {
			out = append(out[:at], "…(+"...)
			out = strconv.AppendInt(out, int64(len(text)), 10)
			return string(append(out, " bytes)"...))
		}
		text = text[n:]
	}
	return string(out)
}

// plain tells whether text is what almost every text is: ASCII without escapes.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

// visible tells whether a reader sees c as itself. [unicode.IsPrint] leaves out
// the controls, the formats (Cf: U+202E, U+200B, U+FEFF), the separators, blanks
// that are not ASCII's, private use and what is not assigned. It lets through
// letters and marks that are drawn as nothing, such as U+3164 and U+FE0F.
func visible(c rune) bool {
	if c < utf8.RuneSelf {
		return ' ' <= c && c < 0x7f
	}
	return unicode.IsPrint(c) && !unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
