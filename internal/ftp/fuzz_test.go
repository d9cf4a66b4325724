package ftp

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

// FuzzCommandReader: the commands do not depend on the segments; what is
// accepted is sent as one line that reads as the same command.
func FuzzCommandReader(f *testing.F) {
	f.Add([]byte("user anonymous\r\n\xff\xf4\xff\xf2ABOR\rPASV\nRETR \xff a \r\n"))
	f.Add([]byte("\xff\xfd\x01\xff\xfb\nNOOP\r\n\r\nPWD\rQUIT\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\xf4\n"))
	f.Add([]byte("x" + strings.Repeat(" ", 5000) + "\nPWD\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		all, err := readCommands(bytes.NewReader(input))
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("the error is %v", err)
		}
		single, singleErr := readCommands(iotest.OneByteReader(bytes.NewReader(input)))
		if got, want := describe(single), describe(all); !slices.Equal(got, want) || singleErr != err {
			t.Fatalf("byte by byte it reads as %q, %v; at once as %q, %v", got, singleErr, want, err)
		}
		for _, c := range all {
			if c.Fault != nil {
				if c.Arg != nil || c.HasArg {
					t.Errorf("refused, but with the argument %q", c.Arg)
				}
				continue
			}
			line := c.AppendLine(nil)
			text, ok := bytes.CutSuffix(line, []byte("\r\n"))
			if !ok || bytes.ContainsAny(text, "\r\n\x00") || len(line) > MaxCommandLine+len("\r\n") {
				t.Errorf("%+v is sent as %q", c, line)
			}
			again, err := readCommands(bytes.NewReader(line))
			if err != io.EOF || len(again) != 1 || again[0].Fault != nil ||
				again[0].Verb != c.Verb || again[0].HasArg != c.HasArg || !bytes.Equal(again[0].Arg, c.Arg) {
				t.Errorf("%q reads as %q, %v; want %q", line, describe(again), err, describe([]Command{c}))
			}
		}
	})
}

// FuzzReplyReader: the lines do not depend on the segments; what is accepted,
// sent on with CRLF, reads as the same lines. A line that is no reply reads as none,
// and there are few of them between two replies.
func FuzzReplyReader(f *testing.F) {
	f.Add([]byte("220-a\r\n\r\n230 b\n220\r\r\n226 c\x00\rd\r\n\r\n150 e"))
	f.Add([]byte("227 Entering Passive Mode (1,2,3,4,5,6).\r\n999 no\r\n"))
	f.Add([]byte("Authorized only\n\r220-a\n\r\x00220 b\n\r\xff\xfb\x01 631\tc\r\x00\n"))
	f.Add([]byte("211 a\r\n b\r\n211 c\r\n553-d\r\n550 e\r\n"))
	f.Add([]byte(" 220-a\r\n\xff220 b\r\n\xf2\xff220 c\r\n\xff\xf1227 d\n22\x007 e\n"))
	f.Add([]byte("220 a\n" + strings.Repeat("b\n\n", maxStray/2+1)))
	f.Fuzz(func(t *testing.T, input []byte) {
		all, err := readReplies(bytes.NewReader(input))
		single, singleErr := readReplies(iotest.OneByteReader(bytes.NewReader(input)))
		if !slices.Equal(single, all) || (err == io.EOF) != (singleErr == io.EOF) {
			t.Fatalf("byte by byte it reads as %q, %v; at once as %q, %v", single, singleErr, all, err)
		}
		var sent []byte
		stray, size := 0, 0
		for _, l := range all {
			code, text, _ := strings.Cut(l, "|")
			if strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("a line is %q", text)
			}
			sent = append(append(sent, text...), "\r\n"...)
			if code != "0" {
				stray, size = 0, 0
				continue
			}
			if stray, size = stray+1, size+len(text); stray > maxStray || size > maxStrayBytes {
				t.Fatalf("%d lines of %d bytes are no replies", stray, size)
			}
			if bare := strings.TrimLeft(text, " \t"); len(bare) > 3 && (bare[3] == ' ' || bare[3] == '-') &&
				(bare[:3] == "227" || bare[:3] == "229") {
				t.Errorf("%q is no reply", text)
			}
		}
		again, err := readReplies(bytes.NewReader(sent))
		if !slices.Equal(again, all) || err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q reads as %q, %v; want %q", sent, again, err, all)
		}
	})
}

// FuzzReadsAsPassive: whatever of a line a client skips that is neither letter nor digit, what
// is left is no 227 and no 229.
func FuzzReadsAsPassive(f *testing.F) {
	f.Add([]byte(" \x00\xff\xfb\x01"), "227 Entering Passive Mode (10,0,0,5,1,2)")
	f.Add([]byte("\xff\xfaa b\xff\xf0"), "229 (|||5000|)")
	f.Add([]byte("Hello "), "227")
	f.Fuzz(func(t *testing.T, before []byte, text string) {
		passive := strings.HasPrefix(text, "227") || strings.HasPrefix(text, "229")
		skipped := bytes.IndexByte(before, telnetIAC) >= 0 || !bytes.ContainsFunc(before, func(c rune) bool {
			return c < utf8.RuneSelf && (isDigit(byte(c)) || isLetter(byte(c)))
		})
		if line := append(bytes.Clone(before), text...); passive && skipped && !ReadsAsPassive(line) {
			t.Errorf("%q could be read as %q", line, text)
		}
	})
}

// FuzzAppendReply: whatever the text, one reply with that code comes out.
func FuzzAppendReply(f *testing.F) {
	f.Add(226, "Done.")
	f.Add(211, "a\r\nb\n211 c\r226 d\x00")
	f.Fuzz(func(t *testing.T, code int, text string) {
		if code < 100 || code > 599 || len(text) > MaxReplyLine/2 {
			t.Skip()
		}
		r := NewReplyReader(bytes.NewReader(AppendReply(nil, code, text)))
		for n := strings.Count(text, "\n"); n >= 0; n-- {
			if l, err := r.Read(); err != nil || l.Code != code || l.Last != (n == 0) {
				t.Fatalf("%d, %q reads as %+v, %v", code, text, l, err)
			}
		}
		if _, err := r.Read(); err != io.EOF {
			t.Errorf("%d, %q is more than one reply: %v", code, text, err)
		}
	})
}

// FuzzQuote: a log stays one line of valid UTF-8 that a reader sees as it is, and of
// bounded length.
func FuzzQuote(f *testing.F) {
	f.Add([]byte("a\r\n\x1b\xff\\\u202e\ufffd"))
	f.Add([]byte(strings.Repeat("\u200d\ufeff\U000e0041", 100)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for got, limit := range map[string]int{Quote(b): MaxQuoted, QuoteError(string(b)): MaxQuotedError} {
			kept, mark, cut := strings.Cut(got, "…(+")
			if !utf8.ValidString(got) || strings.ContainsFunc(got, unseen) {
				t.Errorf("of %q is left %q", b, got)
			}
			if len(got) > limit+len("…(+1234567890 bytes)") || cut && len(b) <= limit/6 && !bytes.Contains(b, []byte("…(+")) {
				t.Errorf("of %q is left %q, with %q after %d bytes", b, got, mark, len(kept))
			}
		}
	})
}

// unseen tells whether c is what no reader sees as itself, by the tables of the
// Unicode standard.
func unseen(c rune) bool {
	return unicode.In(c, unicode.C, unicode.Zl, unicode.Zp, unicode.Bidi_Control, unicode.Join_Control,
		unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}
