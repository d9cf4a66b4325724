package rewrite

import (
	"net/netip"
	"strconv"
	"strings"
)

// ParsePASV reads the address in a 227 reply: its lines joined by "\n", with
// or without code. Servers disagree about all but the six numbers, so it looks
// for nothing else (RFC 1123 §4.1.2.6): six decimal numbers of 0 to 255 with
// commas, and perhaps blanks, between them, no more and no fewer.
//
// Of several lines the last is tried first; within a line, six numbers in
// parentheses come before others. Port 0 is refused. The error is ErrSyntax.
func ParsePASV(text string) (netip.AddrPort, error) {
	last := strings.LastIndexByte(text, '\n') + 1
	if a, _, ok := findSix(text[last:]); ok {
		return a, nil
	}
	for line := range strings.SplitSeq(text[:last], "\n") {
		if a, _, ok := findSix(line); ok {
			return a, nil
		}
	}
	return netip.AddrPort{}, syntaxError("227 reply", text)
}

// FormatPASV returns "227 Entering Passive Mode (h1,h2,h3,h4,p1,p2).", the
// form that old clients and connection-tracking firewalls insist on, without
// CRLF. The address must be IPv4; anything else becomes 0,0,0,0.
func FormatPASV(a netip.AddrPort) string {
	return "227 Entering Passive Mode (" + FormatPORT(a) + ")."
}

// ReplacePASV returns a 227 reply with the address replaced. A single line
// with the six numbers in parentheses keeps its words; in place of any other
// form, and of one that holds digits elsewhere, comes that of FormatPASV.
func ReplacePASV(text string, a netip.AddrPort) string {
	_, at, ok := findSix(text)
	if !ok || !at.parenthesised(text) || !editable("227 ", text[:at.start], text[at.end:]) {
		return FormatPASV(a)
	}
	return text[:at.start] + FormatPORT(a) + text[at.end:]
}

// ParsePORT reads the argument of PORT: six decimal numbers of 0 to 255 with
// commas, and perhaps blanks, between them (RFC 959 §4.1.2). Port 0 is
// refused. The error is ErrSyntax.
func ParsePORT(arg string) (netip.AddrPort, error) {
	if a, at, ok := sixAt(arg, skipBlanks(arg, 0)); ok && skipBlanks(arg, at.end) == len(arg) {
		return a, nil
	}
	return netip.AddrPort{}, syntaxError("PORT", arg)
}

// FormatPORT returns "h1,h2,h3,h4,p1,p2". The address must be IPv4; anything
// else becomes 0,0,0,0.
func FormatPORT(a netip.AddrPort) string {
	ip, port := ipv4(a), a.Port()
	b := make([]byte, 0, len("255,255,255,255,255,255"))
	for _, n := range [...]byte{ip[0], ip[1], ip[2], ip[3], byte(port >> 8)} {
		b = strconv.AppendUint(b, uint64(n), 10)
		b = append(b, ',')
	}
	return string(strconv.AppendUint(b, uint64(byte(port)), 10))
}

// A span is where in a text something stands: text[start:end].
type span struct{ start, end int }

func (at span) parenthesised(text string) bool {
	return at.start > 0 && text[at.start-1] == '(' && at.end < len(text) && text[at.end] == ')'
}

// findSix returns the best six numbers of a line: the first in parentheses,
// otherwise the first.
func findSix(line string) (addr netip.AddrPort, at span, ok bool) {
	for i := 0; i < len(line); {
		if !isDigit(line[i]) {
			i++
			continue
		}
		a, s, found := sixAt(line, i)
		if found && startsNumber(line, i) && (!ok || s.inParentheses(line)) {
			addr, at, ok = a, s, true
			if s.inParentheses(line) {
				return addr, at, ok
			}
		}
		i = max(s.end, i+1)
	}
	return addr, at, ok
}

// inParentheses is parenthesised with blanks inside.
func (at span) inParentheses(line string) bool {
	before := strings.TrimRight(line[:at.start], " \t")
	after := strings.TrimLeft(line[at.end:], " \t")
	return strings.HasSuffix(before, "(") && strings.HasPrefix(after, ")")
}

// startsNumber reports whether the digits at i are a number of their own, not
// the tail of a negative one, of a fraction, or of more than six.
func startsNumber(s string, i int) bool {
	switch before := strings.TrimRight(s[:i], " \t"); {
	case strings.HasSuffix(before, ","):
		return false
	case i == 0:
		return true
	case s[i-1] == '.':
		return i == 1 || !isDigit(s[i-2])
	default:
		return s[i-1] != '-'
	}
}

// sixAt reads the run of numbers with commas between them that starts at i.
// The span is that of the run also where it is not six numbers of 0 to 255
// with a port.
func sixAt(s string, i int) (netip.AddrPort, span, bool) {
	var six [6]byte
	at, count, valid := span{i, i}, 0, true
	for {
		end := i
		for end < len(s) && isDigit(s[end]) {
			end++
		}
		n, err := strconv.ParseUint(s[i:end], 10, 8)
		if err != nil || end-i > 3 || count == len(six) {
			valid = false
		} else {
			six[count] = byte(n)
			count++
		}
		if end == i {
			break // the comma before was none of ours
		}
		at.end = end
		comma := skipBlanks(s, end)
		if comma == len(s) || s[comma] != ',' {
			break
		}
		next := skipBlanks(s, comma+1)
		if next == len(s) || !isDigit(s[next]) {
			break
		}
		i = next
	}
	if at.end+1 < len(s) && s[at.end] == '.' && isDigit(s[at.end+1]) {
		valid = false // a fraction
	}
	port := uint16(six[4])<<8 | uint16(six[5])
	if !valid || count != len(six) || port == 0 {
		return netip.AddrPort{}, at, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(six[:4])), port), at, true
}

func skipBlanks(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}
