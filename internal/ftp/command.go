package ftp

import "bytes"

// MaxCommandLine is the longest line a client may send, in bytes, the LF not
// counted.
const MaxCommandLine = 4096

// A Command is one line from a client.
//
// Arg and Telnet are valid until the next Read of the reader they came from;
// Clone makes a copy to keep.
type Command struct {
	// Verb is in upper case. It is empty where a refused line had none, or
	// was too long.
	Verb string
	// Arg is what stands after the verb and its one separator, byte for
	// byte: spaces at either end, 0xFF and UTF-8 are kept (RFC 3659 §2.2).
	// It is nil where the line is refused.
	Arg []byte
	// HasArg is false when nothing at all followed the verb: "STAT" has no
	// argument, "STAT " has an empty one.
	HasArg bool
	// Fault, if not nil, is why the line is refused. Such a line is never
	// forwarded; the client is owed the Fault's reply.
	Fault *Fault
	// Telnet is owed to the client before any reply: a refusal for each
	// Telnet option that it proposed. Usually nil.
	Telnet []byte
	// Urgent says that a Telnet IP or DM stood before the verb.
	Urgent bool
	// More says that another whole line is already buffered: the next Read
	// does not wait.
	More bool
}

// A Fault is why a line is refused, as the client is told.
type Fault struct {
	Code int
	Text string
}

// The faults that a command line can have.
var (
	// FaultTooLong: the line has more than MaxCommandLine bytes.
	FaultTooLong = &Fault{500, "Command line too long."}
	// FaultControl: a CR or NUL stands within the line. A server might take
	// either for its end and see two commands where the client's firewall,
	// or ftproxy, saw one.
	FaultControl = &Fault{501, "Control character in command."}
	// FaultSyntax: the line is empty or does not begin with a verb.
	FaultSyntax = &Fault{500, "Command not understood."}
)

// AppendLine appends the command as it is sent to a server: verb, one space
// where there is an argument, argument, CRLF. A command with a Fault is not
// for sending; of it only the verb is left.
func (c Command) AppendLine(b []byte) []byte {
	b = append(b, c.Verb...)
	if c.HasArg {
		b = append(b, ' ')
		b = append(b, c.Arg...)
	}
	return append(b, '\r', '\n')
}

// Clone returns a copy that is independent of the reader.
func (c Command) Clone() Command {
	c.Arg = bytes.Clone(c.Arg)
	c.Telnet = bytes.Clone(c.Telnet)
	return c
}

// maxVerb is the longest verb, in bytes. RFC 959 has 3 or 4 letters, RFC 7151
// no more; the longest in use is XSHA512.
const maxVerb = 12

// parseCommand reads a line without its line ending and without what stands
// before the verb.
func parseCommand(line []byte) Command {
	verb, n := parseVerb(line)
	c := Command{Verb: verb}
	switch {
	case n == 0:
		c.Fault = FaultSyntax
	case bytes.IndexByte(line, '\r') >= 0, bytes.IndexByte(line, 0) >= 0:
		c.Fault = FaultControl
	case n < len(line) && line[n] != ' ' && line[n] != '\t':
		c.Verb, c.Fault = "", FaultSyntax
	case n < len(line):
		c.Arg, c.HasArg = line[n+1:], true
	}
	return c
}

// parseVerb returns the letter and the letters and digits after it that line
// begins with, in upper case, and their number: 0 when there is no verb, or
// one that is too long.
func parseVerb(line []byte) (string, int) {
	var upper [maxVerb]byte
	n := 0
	for n < len(line) && (isLetter(line[n]) || n > 0 && isDigit(line[n])) {
		if n == maxVerb {
			return "", 0
		}
		upper[n] = line[n]
		if upper[n] >= 'a' {
			upper[n] -= 'a' - 'A'
		}
		n++
	}
	if known, ok := verbs[string(upper[:n])]; ok {
		return known, n
	}
	return string(upper[:n]), n
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
