package ftp

// Telnet bytes, RFC 854. FTP's control connection is a Telnet connection
// (RFC 959 §4.1), but peers use no more of it than this.
const (
	telnetFirst = 0xEC // EOF, the lowest of the commands (RFC 1184)
	telnetDM    = 0xF2 // Data Mark, the urgent byte of a Synch
	telnetIP    = 0xF4 // Interrupt Process
	telnetWILL  = 0xFB
	telnetWONT  = 0xFC
	telnetDO    = 0xFD
	telnetDONT  = 0xFE
	telnetIAC   = 0xFF
)

// TelnetSynch is what stands before an ABOR that interrupts a transfer:
// IAC IP IAC DM (RFC 959 §4.1.3). Its last byte is sent as urgent data on
// plain TCP, in-band under TLS (RFC 4217 §14).
const TelnetSynch = "\xff\xf4\xff\xf2"

// prefixLen returns the length of the blank or Telnet command at the start of
// p, which must not be empty: 0 when p begins with neither, -1 when that
// takes more bytes to tell.
//
// One byte of a Synch may be missing, because it was the urgent byte and the
// receiver took it out of the stream: a lone IAC, DM or IP is skipped, too.
// IAC SB has no place here: nobody agreed to an option that uses it.
func prefixLen(p []byte) int {
	switch p[0] {
	case ' ', '\t', telnetDM, telnetIP:
		return 1
	case telnetIAC:
	default:
		return 0
	}
	switch {
	case len(p) < 2:
		return -1
	case p[1] < telnetFirst || p[1] == telnetIAC:
		return 1
	case p[1] < telnetWILL:
		return 2
	case len(p) < 3:
		return -1
	default:
		return 3
	}
}

// telnetUrgent reports whether a prefix is an IP or a DM.
func telnetUrgent(prefix []byte) bool {
	c := prefix[len(prefix)-1]
	return len(prefix) < 3 && (c == telnetIP || c == telnetDM)
}

// appendRefusal appends the answer that a prefix is owed. Every option is
// refused (RFC 1123 §4.1.2.12); WONT and DONT need no answer.
func appendRefusal(b, prefix []byte) []byte {
	if len(prefix) < 3 {
		return b
	}
	switch prefix[1] {
	case telnetWILL:
		return append(b, telnetIAC, telnetDONT, prefix[2])
	case telnetDO:
		return append(b, telnetIAC, telnetWONT, prefix[2])
	}
	return b
}
