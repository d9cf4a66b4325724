// Package rewrite turns the address text of FTP's data connections into
// netip values and back: 227 and 229 replies, PORT and EPRT arguments. It also
// edits the list of features in a FEAT reply.
//
// Parsers take what real peers send; formatters emit the one form that every
// peer and firewall understands. Nothing here opens a connection or judges an
// address: whether it may be dialled is for the caller to decide.
package rewrite

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

var (
	// ErrSyntax says that text holds no address in the expected form.
	ErrSyntax = errors.New("malformed address")
	// ErrProtocol says that an EPRT or EPSV argument names a network protocol
	// other than 1 (IPv4) and 2 (IPv6). Its reply is 522 (RFC 2428 §2).
	ErrProtocol = errors.New("unknown network protocol")
)

func syntaxError(what, text string) error {
	const most = 120 // bytes quoted in an error
	return fmt.Errorf("%s: %w: %q", what, ErrSyntax, text[:min(len(text), most)])
}

// ipv4 returns a's address as four bytes, 0.0.0.0 where it has none: clients
// take that for the address of the control connection.
func ipv4(a netip.AddrPort) [4]byte {
	ip := a.Addr().Unmap()
	if !ip.Is4() {
		return [4]byte{}
	}
	return ip.As4()
}

// parsePort reads a port in decimal, 1 to 65535, of at most five digits.
func parsePort(s string) (uint16, bool) {
	if len(s) > 5 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// editable reports whether a reply may keep its words when its numbers
// change: a single line with that code which holds no other digits, since
// those might be an address, and no control characters.
func editable(code, before, after string) bool {
	words, ok := strings.CutPrefix(before, code)
	return ok && isWords(words) && isWords(after)
}

func isWords(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7F || isDigit(s[i]) {
			return false
		}
	}
	return true
}
