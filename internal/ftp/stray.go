package ftp

import "bytes"

// What servers send around a line and before its code.

// trimEnd takes off what is left of the ends of the lines: CR CR LF, LF CR, and the NUL of a
// server that sends its C strings with their ends.
func trimEnd(line []byte) []byte {
	return bytes.TrimLeft(bytes.TrimRight(line, "\r\x00"), "\r\x00")
}

// trimPrefix takes off the Telnet commands that a line begins with; with blanks these,
// CRs and NULs, too, and tells whether there were blanks.
func trimPrefix(line []byte, blanks bool) (rest []byte, indented bool) {
	for len(line) > 0 {
		c, n := line[0], 0
		switch {
		case blanks && (c == ' ' || c == '\t'):
			n, indented = 1, true
		case c == '\r' || c == 0:
			n = 1
		case c >= telnetFirst:
			n = prefixLen(line)
		}
		if n < 0 { // A Telnet command that the end of the line has cut.
			n = len(line)
		}
		if n == 0 {
			break
		}
		line = line[n:]
	}
	return line, indented
}

// isBlank tells whether nothing but blanks, line ends and Telnet commands is in a line.
func isBlank(line []byte) bool {
	rest, _ := trimPrefix(line, true)
	return len(rest) == 0
}

// ReadsAsPassive tells whether a client could take a line for a 227 or a 229, though it
// is no reply: clients skip blanks, NULs, Telnet commands and other bytes before the code.
// A Telnet command may hide any byte, so a line with one needs no more than the digits.
func ReadsAsPassive(line []byte) bool {
	telnet := bytes.IndexByte(line, telnetIAC) >= 0
	digits := 0 // of 22 that were found
	for _, c := range line {
		switch {
		case !isDigit(c) && !isLetter(c):
		case c == '2' && digits < 2:
			digits++
		case digits == 2 && (c == '7' || c == '9'):
			return true
		case !telnet:
			return false
		}
	}
	return false
}
