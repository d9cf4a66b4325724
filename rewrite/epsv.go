package rewrite

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseEPSV reads the port in a 229 reply: its lines joined by "\n", with or
// without code. In "(|||port|)" any character of 33 to 126 may stand for the
// bar (RFC 2428 §3); the two empty fields may be filled, as some servers do, and
// there may be more or fewer delimiters. Of several lines the last is tried first. Port 0 is refused. The error is
// ErrSyntax.
func ParseEPSV(text string) (uint16, error) {
	last := strings.LastIndexByte(text, '\n') + 1
	if port, _, ok := findPort(text[last:]); ok {
		return port, nil
	}
	for line := range strings.SplitSeq(text[:last], "\n") {
		if port, _, ok := findPort(line); ok {
			return port, nil
		}
	}
	return 0, syntaxError("229 reply", text)
}

// FormatEPSV returns "229 Entering Extended Passive Mode (|||port|)", without
// CRLF.
func FormatEPSV(port uint16) string {
	return "229 Entering Extended Passive Mode (|||" + strconv.Itoa(int(port)) + "|)"
}

// ReplaceEPSV returns a 229 reply with the port replaced. A single line with
// "(|||port|)" keeps its words; in place of any other form, and of one that
// holds digits elsewhere, comes that of FormatEPSV.
func ReplaceEPSV(text string, port uint16) string {
	_, at, ok := findPort(text)
	if !ok || !strings.HasSuffix(text[:at.start], "(|||") || !strings.HasPrefix(text[at.end:], "|)") ||
		!editable("229 ", text[:at.start], text[at.end:]) {
		return FormatEPSV(port)
	}
	return text[:at.start] + strconv.Itoa(int(port)) + text[at.end:]
}

// findPort returns the first port of a line that stands in parentheses and
// between delimiters, and where its digits are. Without parentheses only
// "|||port|" is a port.
func findPort(line string) (uint16, span, bool) {
	for i := range len(line) {
		if line[i] != '(' {
			continue
		}
		if at, ok := portAt(line, i+1); ok && strings.HasPrefix(line[at.end+1:], ")") {
			if port, ok := parsePort(line[at.start:at.end]); ok {
				return port, at, true
			}
		}
	}
	if i := strings.Index(line, "|||"); i >= 0 {
		if at, ok := portAt(line, i); ok {
			if port, ok := parsePort(line[at.start:at.end]); ok {
				return port, at, true
			}
		}
	}
	return findMiscounted(line)
}

// findMiscounted finds a port in parentheses with any number of equal delimiters around it
// but not the four that RFC 2428 §3 wants: "(||port|)".
func findMiscounted(line string) (uint16, span, bool) {
	for i := range len(line) {
		if line[i] != '(' {
			continue
		}
		inner, _, closed := strings.Cut(line[i+1:], ")")
		if !closed || inner == "" || inner[0] < 33 || inner[0] > 126 || isDigit(inner[0]) {
			continue
		}
		digits := strings.Trim(inner, inner[:1])
		if port, ok := parsePort(digits); ok {
			start := i + 1 + strings.Index(inner, digits)
			return port, span{start, start + len(digits)}, true
		}
	}
	return 0, span{}, false
}

// portAt finds the digits of the port where the fields between delimiters
// begin at i; the last delimiter stands behind them.
func portAt(s string, i int) (span, bool) {
	if i == len(s) || s[i] < 33 || s[i] > 126 {
		return span{}, false
	}
	d := s[i]
	if isDigit(d) { // allowed, too: three of them, the port, and one before ")"
		end := i + strings.IndexByte(s[i:], ')') - 1
		return span{i + 3, end}, end > i+3 && s[i+1] == d && s[i+2] == d && s[end] == d
	}
	at := span{start: i + 1}
	for range 2 {
		n := strings.IndexByte(s[at.start:], d)
		if n < 0 || strings.ContainsAny(s[at.start:at.start+n], " \t") {
			return span{}, false
		}
		at.start += n + 1
	}
	at.end = at.start
	for at.end < len(s) && isDigit(s[at.end]) {
		at.end++
	}
	return at, at.end < len(s) && s[at.end] == d
}

// An EPSVKind is what the argument of EPSV asks for.
type EPSVKind int

// The arguments of EPSV (RFC 2428 §3).
const (
	EPSVDefault EPSVKind = iota // none: the family of the control connection
	EPSVIPv4                    // 1
	EPSVIPv6                    // 2
	EPSVAll                     // ALL: nothing but EPSV will come from now on
)

// ParseEPSVArg reads the argument of EPSV, "" where there is none. Its errors
// are ErrProtocol for a number other than 1 and 2, and ErrSyntax.
func ParseEPSVArg(arg string) (EPSVKind, error) {
	switch word := strings.Trim(arg, " \t"); {
	case word == "":
		return EPSVDefault, nil
	case word == "1":
		return EPSVIPv4, nil
	case word == "2":
		return EPSVIPv6, nil
	case strings.EqualFold(word, "ALL"):
		return EPSVAll, nil
	case isProtocol(word):
		return 0, fmt.Errorf("EPSV: %w: %s", ErrProtocol, word)
	}
	return 0, syntaxError("EPSV", arg)
}

// isProtocol reports whether a field is the number of a network protocol, one
// of the address families of IANA, which have 16 bits.
func isProtocol(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}
