package ftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// segmentations are the ways in which a stream may arrive. What is read must
// not depend on them.
var segmentations = []struct {
	name string
	wrap func(io.Reader) io.Reader
}{
	{"at once", func(r io.Reader) io.Reader { return r }},
	{"byte by byte", iotest.OneByteReader},
	{"in halves", iotest.HalfReader},
	{"last bytes with EOF", iotest.DataErrReader},
	{"with a timeout after each byte", func(r io.Reader) io.Reader { return &interruptedReader{r: r} }},
}

// An interruptedReader returns a timeout along with each byte.
type interruptedReader struct{ r io.Reader }

func (i *interruptedReader) Read(p []byte) (int, error) {
	n, err := i.r.Read(p[:min(len(p), 1)])
	if err == nil {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// readCommands reads to the end, also past timeouts, and returns copies with
// More cleared, since that does depend on the segments.
func readCommands(r io.Reader) ([]Command, error) {
	var all []Command
	for cr := NewCommandReader(r); ; {
		c, err := cr.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return all, err
		}
		c = c.Clone()
		c.More = false
		all = append(all, c)
	}
}

// describe writes commands in a form that is easy to put in a table.
func describe(all []Command) []string {
	var out []string
	for _, c := range all {
		s := c.Verb
		if c.HasArg {
			s += " " + string(c.Arg)
		}
		if c.Fault != nil {
			s += fmt.Sprintf("!%d", c.Fault.Code)
		}
		if c.Urgent {
			s += " urgent"
		}
		if c.Telnet != nil {
			s += fmt.Sprintf(" owes % X", c.Telnet)
		}
		out = append(out, s)
	}
	return out
}

func TestCommandReader(t *testing.T) {
	long := strings.Repeat("x", MaxCommandLine-len("RETR \r"))
	for _, tt := range []struct {
		name  string
		input string
		want  []string
		err   error
	}{
		{"nothing", "", nil, io.EOF},
		{"RFC 959 §5.3: verb and argument", "RETR a.txt\r\n", []string{"RETR a.txt"}, io.EOF},
		{"H30: pipelined", "PASV\r\nRETR a\r\nQUIT\r\n", []string{"PASV", "RETR a", "QUIT"}, io.EOF},
		{"H23: bare LF ends a line", "PWD\nQUIT\n", []string{"PWD", "QUIT"}, io.EOF},
		{"H23: squid's PWD CR QUIT is one line, refused", "PWD\rQUIT\r\n", []string{"PWD!501"}, io.EOF},
		{"H23: CR within an argument", "DELE a\rDELE b\r\nPWD\r\n", []string{"DELE!501", "PWD"}, io.EOF},
		{"H23: CR NUL, RFC 2640 §3.1", "RETR a\r\x00b\r\n", []string{"RETR!501"}, io.EOF},
		{"H23: CR CR LF", "PWD\r\r\n", []string{"PWD!501"}, io.EOF},
		{"H24: the longest line", "RETR " + long + "\r\nPWD\r\n", []string{"RETR " + long, "PWD"}, io.EOF},
		{"H24: one byte more is refused, not split", "RETR x" + long + "\r\nPWD\r\n", []string{"!500", "PWD"}, io.EOF},
		{"H24: much more", strings.Repeat("DELE a ", 10_000) + "\nPWD\r\n", []string{"!500", "PWD"}, io.EOF},
		{"H24: too long by blanks before the verb", strings.Repeat(" ", 5000) + "PWD\r\nQUIT\r\n", []string{"!500", "QUIT"}, io.EOF},
		{"H24: too long by a verb", strings.Repeat("A", 5000) + "\r\nQUIT\r\n", []string{"!500", "QUIT"}, io.EOF},
		{"H24: too long without end", strings.Repeat("A", 5000), []string{"!500"}, io.ErrUnexpectedEOF},
		{"H25: NUL", "RETR a\x00b\r\n", []string{"RETR!501"}, io.EOF},
		{"H25: NUL in the verb", "RE\x00TR a\r\n", []string{"RE!501"}, io.EOF},
		{"H26: 0xFF in a path is data", "RETR \xffa\xff\xf4b\xff\r\n", []string{"RETR \xffa\xff\xf4b\xff"}, io.EOF},
		{"H26: doubled 0xFF stays doubled", "RETR a\xff\xffb\r\n", []string{"RETR a\xff\xffb"}, io.EOF},
		{"H27: DO and WILL are refused", "\xff\xfd\x03\xff\xfb\x18NOOP\r\n", []string{"NOOP owes FF FC 03 FF FE 18"}, io.EOF},
		{"H27: DONT and WONT need no answer", "\xff\xfe\x03\xff\xfc\x18NOOP\r\n", []string{"NOOP"}, io.EOF},
		{"H27: option 10 is no line end", "\xff\xfb\nNOOP\r\n", []string{"NOOP owes FF FE 0A"}, io.EOF},
		{"H27: AYT, AO and NOP are dropped", "\xff\xf6\xff\xf5\xff\xf1NOOP\r\n", []string{"NOOP"}, io.EOF},
		{"H27: each answer once", "\xff\xfd\x01NOOP\r\nNOOP\r\n", []string{"NOOP owes FF FC 01", "NOOP"}, io.EOF},
		{"H28: spaces at either end are kept", "RETR  a b  \r\n", []string{"RETR  a b  "}, io.EOF},
		{"H28: UTF-8 and Latin-1", "RETR \xc3\xa4\xe4\r\n", []string{"RETR \xc3\xa4\xe4"}, io.EOF},
		{"H28: an empty argument is not none", "STAT \r\nSTAT\r\n", []string{"STAT ", "STAT"}, io.EOF},
		{"H28: escape sequences in a path are data", "RETR \x1b[2J\x7f\r\n", []string{"RETR \x1b[2J\x7f"}, io.EOF},
		{"H29: lower case", "retr A\r\nFeat\r\n", []string{"RETR A", "FEAT"}, io.EOF},
		{"H29: X verbs are their own", "XPWD\r\nxcup\r\nXCWD a\r\nXMKD a\r\nXRMD a\r\n", []string{"XPWD", "XCUP", "XCWD a", "XMKD a", "XRMD a"}, io.EOF},
		{"H29: TAB after the verb", "RETR\t a\r\n", []string{"RETR  a"}, io.EOF},
		{"H29: leading blanks", " \t USER a\r\n", []string{"USER a"}, io.EOF},
		{"H32: plain", "ABOR\r\n", []string{"ABOR"}, io.EOF},
		{"H32: RFC 959 §4.1.3, IP and Synch", "\xff\xf4\xff\xf2ABOR\r\n", []string{"ABOR urgent"}, io.EOF},
		{"H32: the DM was the urgent byte", "\xff\xf4\xffABOR\r\n", []string{"ABOR urgent"}, io.EOF},
		{"H32: the IAC before the DM was, BSD ftp", "\xff\xf4\xf2ABOR\r\n", []string{"ABOR urgent"}, io.EOF},
		{"H32: only the DM is left", "\xf2ABOR\r\n", []string{"ABOR urgent"}, io.EOF},
		{"H32: IAC twice", "\xff\xf4\xff\xff\xf2abor\r\n", []string{"ABOR urgent"}, io.EOF},
		{"H32: the first IAC is lost", "\xf4\xff\xf2ABOR\r\n", []string{"ABOR urgent"}, io.EOF},
		{"H32: IAC twice, then an option", "\xff\xff\xfd\x01ABOR\r\n", []string{"ABOR owes FF FC 01"}, io.EOF},
		{"H32: Synch after blanks", " \xff\xf2 ABOR\r\n", []string{"ABOR urgent"}, io.EOF},
		{"H32: the LF was the urgent byte, Python ftplib", "ABOR\r", []string{"ABOR"}, io.EOF},
		{"H32: it was, and a command follows", "ABOR\rPWD\r\n", []string{"ABOR", "PWD"}, io.EOF},
		{"H32: one LF belongs to ABOR, the next does not", "ABOR\r\n\nPWD\r\n", []string{"ABOR", "!500", "PWD"}, io.EOF},
		{"H32: ABOR with LF alone", "ABOR\nPWD\r\n", []string{"ABOR", "PWD"}, io.EOF},
		{"H32: no other verb ends with CR", "PWD\r", nil, io.ErrUnexpectedEOF},
		{"H32: urgent counts for one command", "\xff\xf4\xff\xf2ABOR\r\nPWD\r\n", []string{"ABOR urgent", "PWD"}, io.EOF},
		{"H32: STAT after Synch", "\xff\xf4\xff\xf2STAT\r\n", []string{"STAT urgent"}, io.EOF},
		{"H32: option 244 is no IP", "\xff\xfd\xf4NOOP\r\n", []string{"NOOP owes FF FC F4"}, io.EOF},
		{"H42: unknown verbs pass", "XFOO2 a\r\nSITE EXEC x\r\n", []string{"XFOO2 a", "SITE EXEC x"}, io.EOF},
		{"the longest verb", "ABCDEFGHIJKL\r\nABCDEFGHIJKLM\r\n", []string{"ABCDEFGHIJKL", "!500"}, io.EOF},
		{"empty lines", "\r\n\n \r\nPWD\r\n", []string{"!500", "!500", "!500", "PWD"}, io.EOF},
		{"TLS ClientHello", "\x16\x03\x01\x00\xf4\x01\x00\n", []string{"!500"}, io.EOF},
		{"a digit begins no verb", "220 hello\r\n", []string{"!500"}, io.EOF},
		{"punctuation in a verb", "USER:a\r\n", []string{"!500"}, io.EOF},
		{"unterminated", "PWD\r\nQUI", []string{"PWD"}, io.ErrUnexpectedEOF},
		{"half a Telnet command", "PWD\r\n\xff", []string{"PWD"}, io.ErrUnexpectedEOF},
		{"a Telnet command and the end", "\xff\xfb\x01", nil, io.ErrUnexpectedEOF},
	} {
		for _, s := range segmentations {
			t.Run(tt.name+"/"+s.name, func(t *testing.T) {
				all, err := readCommands(s.wrap(strings.NewReader(tt.input)))
				if got := describe(all); !slices.Equal(got, tt.want) || err != tt.err {
					t.Errorf("%.60q reads as %.60q, %v; want %.60q, %v", tt.input, got, err, tt.want, tt.err)
				}
			})
		}
	}
}

func TestCommandFaults(t *testing.T) {
	for _, tt := range []struct {
		input string
		want  *Fault
	}{
		{strings.Repeat("A", 9000) + "\n", FaultTooLong},
		{"PWD\rQUIT\n", FaultControl},
		{"PWD\x00\n", FaultControl},
		{"\n", FaultSyntax},
		{"{}\n", FaultSyntax},
		{"PWD\n", nil},
	} {
		c, err := NewCommandReader(strings.NewReader(tt.input)).Read()
		if err != nil || c.Fault != tt.want {
			t.Errorf("%.20q: fault %v, %v; want %v", tt.input, c.Fault, err, tt.want)
		}
		if c.Fault != nil && (c.Arg != nil || c.HasArg) {
			t.Errorf("%.20q: a refused line has the argument %q", tt.input, c.Arg)
		}
	}
}

func TestCommandAppendLine(t *testing.T) {
	for input, want := range map[string]string{
		"retr\ta \n":                "RETR a \r\n",
		"  pwd\r\n":                 "PWD\r\n",
		"STAT \r\n":                 "STAT \r\n",
		"\xff\xf4\xff\xf2abor\r\n":  "ABOR\r\n",
		"\xff\xfd\x03STOR \xff\r\n": "STOR \xff\r\n",
	} {
		c, err := NewCommandReader(strings.NewReader(input)).Read()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.AppendLine([]byte("> "))); got != "> "+want {
			t.Errorf("%q is sent as %q; want %q", input, got, "> "+want)
		}
	}
}

// More must be true only where Read does not wait: the session holds its
// writes back meanwhile.
func TestCommandMore(t *testing.T) {
	for _, tt := range []struct {
		input string
		want  bool
	}{
		{"NOOP\r\n", false},
		{"NOOP\r\nQUIT\r", false},
		{"NOOP\r\nQUIT\r\n", true},
		{"NOOP\r\n\r\n", true},
		{"NOOP\r\nABOR\r", true},
		{"NOOP\r\n\xff\xf4\xff\xf2ABOR\r", true},
		{"NOOP\r\n\xff\xfb\n", false},
		{"NOOP\r\n\xff", false},
		{"ABOR\r\n", false},
		{"ABOR\r\n\n", true},
		{"ABOR\r\nPWD\r\n", true},
		{strings.Repeat("A", 2*MaxCommandLine) + "\nNOOP\n", false},
	} {
		c, err := NewCommandReader(strings.NewReader(tt.input)).Read()
		if err != nil || c.More != tt.want {
			t.Errorf("%.30q: More = %v, %v; want %v", tt.input, c.More, err, tt.want)
		}
	}
}

// H68: bytes after AUTH must be seen, whether they make a line or not.
func TestCommandBuffered(t *testing.T) {
	for input, want := range map[string]int{
		"AUTH TLS\r\n":       0,
		"AUTH TLS\r\nU":      1,
		"AUTH TLS\r\nUSER\n": 5,
		"ABOR\r\n":           0,
	} {
		r := NewCommandReader(strings.NewReader(input))
		if _, err := r.Read(); err != nil || r.Buffered() != want {
			t.Errorf("%q: Buffered = %d, %v; want %d", input, r.Buffered(), err, want)
		}
	}
}

// The LF of an ABOR that was answered already must not become an empty line.
func TestCommandABORBeforeLF(t *testing.T) {
	client, server := io.Pipe()
	defer client.Close()
	r := NewCommandReader(client)
	go func() {
		io.WriteString(server, "ABOR\r")
		io.WriteString(server, "\n")
		io.WriteString(server, "PWD\r\n")
	}()
	for _, want := range []string{"ABOR", "PWD"} {
		if c, err := r.Read(); err != nil || c.Verb != want || c.Fault != nil {
			t.Fatalf("Read = %+v, %v; want %s", c, err, want)
		}
	}
}

// A line that is too long is refused before its end has come, so that a peer
// that never ends it learns what is wrong.
func TestCommandTooLongBeforeLF(t *testing.T) {
	client, server := io.Pipe()
	defer client.Close()
	go server.Write(bytes.Repeat([]byte("x"), MaxCommandLine+1))
	if c, err := NewCommandReader(client).Read(); err != nil || c.Fault != FaultTooLong {
		t.Fatalf("Read = %+v, %v; want FaultTooLong", c, err)
	}
}

func TestCommandClone(t *testing.T) {
	r := NewCommandReader(strings.NewReader("\xff\xfd\x01RETR one\r\n\xff\xfb\x02RETR two\r\n"))
	c, _ := r.Read()
	one := c.Clone()
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	clear(r.in.buf)
	if string(one.Arg) != "one" || string(one.Telnet) != "\xff\xfc\x01" {
		t.Errorf("the clone changed to %+v", one)
	}
}

// The end of the stream is the end, whatever it cut off.
func TestCommandAfterEOF(t *testing.T) {
	for _, input := range []string{"PWD", "\xff\xfd\x01", strings.Repeat("x", 5000)} {
		r := NewCommandReader(strings.NewReader(input))
		var err error
		for err == nil {
			_, err = r.Read()
		}
		if err != io.ErrUnexpectedEOF {
			t.Errorf("%.20q ends with %v; want %v", input, err, io.ErrUnexpectedEOF)
		}
		if _, err := r.Read(); err != io.EOF || r.Buffered() != 0 {
			t.Errorf("after %.20q comes %v, %d bytes buffered; want EOF", input, err, r.Buffered())
		}
	}
}

// Where a line is as long as it may be, what was taken off before the verb
// counts, and segments still make no difference.
func TestCommandLimitWithPrefix(t *testing.T) {
	for _, tail := range []string{"ABOR\r", "ABOR\r\n", "PWD\r\n", "\xff\xfd\nPWD\n", "\xff\xf1 \n", " \xf2PWD\n"} {
		for n := MaxCommandLine - 12; n <= MaxCommandLine+1; n++ {
			input := strings.Repeat(" ", n) + tail + "QUIT\n"
			all, err := readCommands(strings.NewReader(input))
			want := describe(all)
			single, singleErr := readCommands(iotest.OneByteReader(strings.NewReader(input)))
			if got := describe(single); !slices.Equal(got, want) || singleErr != err {
				t.Errorf("%d blanks and %q: byte by byte %q, %v; at once %q, %v", n, tail, got, singleErr, want, err)
			}
			if n > MaxCommandLine-len("PWD") && all[0].Fault == nil {
				t.Errorf("%d blanks and %q: %q; want a fault", n, tail, want)
			}
		}
	}
}
