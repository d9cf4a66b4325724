// Package ftp is the grammar of an FTP control connection: command lines,
// reply lines and the few Telnet bytes that peers send among them.
//
// It cuts streams into lines and says what each line is. It decides nothing:
// it holds no connection, clock, log or lock. Bytes pass as they came; only
// the framing is normalised to CRLF. A line that passes through costs no
// allocation.
package ftp
