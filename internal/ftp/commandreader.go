package ftp

import (
	"bytes"
	"io"
)

// A CommandReader cuts what a client sends into Commands.
//
// A line ends with LF; one CR before it is stripped. ABOR ends with its CR,
// because its LF may be the urgent byte and be lost (Python's ftplib sends all
// of ABOR as urgent data): it is returned as soon as the CR is there, and one
// LF after it is skipped. So the commands do not depend on how the stream
// was cut into segments.
//
// Blanks and Telnet commands before the verb are taken off; anywhere else
// 0xFF is data, because many clients send it undoubled in a path.
type CommandReader struct {
	in       lineBuffer
	returned bool   // a command was returned; what follows belongs to another
	prefix   int    // bytes taken off before the verb
	telnet   []byte // refusals owed
	urgent   bool
	discard  bool // within a line that was too long
	skipLF   bool // after ABOR and its CR
	hello    bool // a line began as TLS does
}

// NewCommandReader returns a reader of r. It reads no more than one buffer
// ahead: 128 bytes, for a long line up to MaxCommandLine+1.
func NewCommandReader(r io.Reader) *CommandReader {
	c := new(CommandReader)
	c.in.init(r, MaxCommandLine)
	return c
}

// Read waits for one line and returns it. Its only errors are those of the
// io.Reader, as they are; io.ErrUnexpectedEOF says that the last line had no
// end, and that line is dropped. Read may be called again after an error that
// passes, such as a timeout: no byte is lost.
//
// A line that is too long is refused as soon as that is known; its rest is
// discarded by the following Read and takes no memory.
func (r *CommandReader) Read() (Command, error) {
	for {
		if c, ok, _ := r.Next(); ok {
			return c, nil
		}
		if err := r.Fill(); err != nil {
			return Command{}, err
		}
	}
}

// Next is Read that does not wait: without a whole line ok is false, and Fill
// reads more. The error is always nil.
func (r *CommandReader) Next() (c Command, ok bool, err error) {
	if r.returned {
		r.reset()
	}
	r.skip()
	if c, ok = r.next(); ok {
		r.returned = true
		r.skip()
		c.Telnet, c.Urgent, c.More = r.telnet, r.urgent, r.whole()
	}
	return c, ok, nil
}

// Fill waits for bytes, after Next has found too few. Its errors are those of
// Read.
func (r *CommandReader) Fill() error {
	err := r.in.fill()
	if err == io.EOF && (len(r.in.pending()) > 0 || r.prefix > 0 || r.discard) {
		r.reset()
		r.in.consume(len(r.in.pending()))
		r.discard = false
		return io.ErrUnexpectedEOF
	}
	return err
}

// Buffered returns the number of bytes that were read and belong to no
// command returned so far.
func (r *CommandReader) Buffered() int { return len(r.in.pending()) }

// Switch goes on with another stream, such as that of TLS on the same connection.
// Nothing may be buffered.
func (r *CommandReader) Switch(in io.Reader) { r.in.r, r.skipLF, r.in.err = in, false, nil }

func (r *CommandReader) reset() {
	r.returned, r.prefix, r.telnet, r.urgent = false, 0, nil, false
}

// skip drops what is pending and belongs to a command already returned.
func (r *CommandReader) skip() {
	p := r.in.pending()
	switch {
	case len(p) == 0:
	case r.discard:
		n := bytes.IndexByte(p, '\n') + 1
		if r.discard = n == 0; r.discard {
			n = len(p)
		}
		r.in.consume(n)
	case r.skipLF:
		r.skipLF = false
		if p[0] == '\n' {
			r.in.consume(1)
		}
	}
}

// next consumes one command, if a whole one is pending.
func (r *CommandReader) next() (Command, bool) {
	if r.discard {
		return Command{}, false
	}
	r.takePrefix()
	p := r.in.pending()
	r.hello = r.hello || len(p) >= len(clientHello) && string(p[:len(clientHello)]) == clientHello
	if isABOR(p) && r.prefix+len(abor) <= MaxCommandLine {
		r.in.consume(len(abor))
		r.skipLF = true
		return Command{Verb: "ABOR"}, true
	}
	line, ok := r.in.line()
	switch {
	case ok && r.prefix+len(line) <= MaxCommandLine:
		return parseCommand(bytes.TrimSuffix(line, []byte{'\r'})), true
	case ok || r.prefix+len(p) > MaxCommandLine:
		r.discard = !ok
		return Command{Fault: FaultTooLong}, true
	}
	return Command{}, false
}

// takePrefix consumes the blanks and Telnet commands before the verb, as far
// as the line may be long.
func (r *CommandReader) takePrefix() {
	for p := r.in.pending(); len(p) > 0; p = r.in.pending() {
		n := prefixLen(p)
		if n <= 0 || r.prefix+n > MaxCommandLine {
			return
		}
		r.telnet = appendRefusal(r.telnet, p[:n])
		r.urgent = r.urgent || telnetUrgent(p[:n])
		r.prefix += n
		r.in.consume(n)
	}
}

// whole reports whether next would find a whole command.
func (r *CommandReader) whole() bool {
	if r.discard {
		return false
	}
	for p := r.in.pending(); len(p) > 0; {
		switch n := prefixLen(p); {
		case n > 0:
			p = p[n:]
		case n < 0:
			return false
		default:
			return isABOR(p) || bytes.IndexByte(p, '\n') >= 0
		}
	}
	return false
}

// clientHello is how a client begins TLS: a handshake record of version 3 (RFC 8446 §5.1).
const clientHello = "\x16\x03"

// Hello tells whether a line began as TLS does, once.
func (r *CommandReader) Hello() bool {
	hello := r.hello
	r.hello = false
	return hello
}

// abor is an ABOR that is complete but for its LF.
const abor = "ABOR\r"

func isABOR(p []byte) bool {
	return len(p) >= len(abor) && bytes.EqualFold(p[:len(abor)], []byte(abor))
}
