package ftp

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Quote returns b for a log: printable UTF-8 as it is, everything else, and
// the backslash, escaped as in Go. So a peer can neither forge a line of a log
// nor move the cursor of who reads it.
func Quote(b []byte) string {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		switch {
		case c == utf8.RuneError && n == 1:
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'x', hex[b[0]>>4], hex[b[0]&15])
		case c != '\\' && unicode.IsPrint(c):
			out = append(out, b[:n]...)
		default:
			q := strconv.AppendQuoteRuneToASCII(nil, c)
			out = append(out, q[1:len(q)-1]...)
		}
		b = b[n:]
	}
	return string(out)
}
