package ftp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// readReplies reads to the end, also past timeouts. A line is written as its
// code, F and L for first and last, and its text.
func readReplies(r io.Reader) ([]string, error) {
	var all []string
	for rr := NewReplyReader(r); ; {
		l, err := rr.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return all, err
		}
		s := fmt.Sprint(l.Code)
		if l.First {
			s += "F"
		}
		if l.Last {
			s += "L"
		}
		all = append(all, s+"|"+string(l.Text))
	}
}

func TestReplyReader(t *testing.T) {
	long := strings.Repeat("x", MaxReplyLine-len("220 "))
	for _, tt := range []struct {
		name  string
		input string
		want  []string
		err   error
	}{
		{"nothing", "", nil, io.EOF},
		{"RFC 959 §4.2: one line", "226 Done.\r\n", []string{"226FL|226 Done."}, io.EOF},
		{"RFC 959 §4.2: its example of several lines", "123-First line\r\nSecond line\r\n  234 A line beginning with numbers\r\n123 The last line\r\n",
			[]string{"123F|123-First line", "123|Second line", "123|  234 A line beginning with numbers", "123L|123 The last line"}, io.EOF},
		{"H1: another code in the middle", "211-a\r\n226 no\r\n227-x\r\n226\r\n211 b\r\n",
			[]string{"211F|211-a", "211|226 no", "211|227-x", "211|226", "211L|211 b"}, io.EOF},
		{"H1: blank lines in the middle", "220-a\r\n\r\n \r\n220 b\r\n", []string{"220F|220-a", "220|", "220| ", "220L|220 b"}, io.EOF},
		{"H1: the code on every line, wu-ftpd", "214-a\r\n214-b\r\n214 c\r\n", []string{"214F|214-a", "214|214-b", "214L|214 c"}, io.EOF},
		{"H1: the code and neither space nor hyphen", "211-a\r\n2111 b\r\n211.c\r\n211 d\r\n",
			[]string{"211F|211-a", "211|2111 b", "211|211.c", "211L|211 d"}, io.EOF},
		{"H1: IIS continuation lines", "230-Welcome\r\n    to IIS\r\n230 User logged in.\r\n",
			[]string{"230F|230-Welcome", "230|    to IIS", "230L|230 User logged in."}, io.EOF},
		{"H1: ends with the bare code", "220-a\r\n220\r\n230 b\r\n", []string{"220F|220-a", "220L|220 ", "230FL|230 b"}, io.EOF},
		{"H2: 227 in a banner", "220-try\r\n227 Entering Passive Mode (1,2,3,4,5,6).\r\n220 b\r\n",
			[]string{"220F|220-try", "220|227 Entering Passive Mode (1,2,3,4,5,6).", "220L|220 b"}, io.EOF},
		{"H3: 227 of several lines", "227-a\r\n(10,0,0,5,1,2)\r\n227 b\r\n", []string{"227F|227-a", "227|(10,0,0,5,1,2)", "227L|227 b"}, io.EOF},
		{"H10: preliminary and final in one segment", "150 a\r\n226 b\r\n", []string{"150FL|150 a", "226FL|226 b"}, io.EOF},
		{"H18: bare LF", "220-a\nb\n220 c\n", []string{"220F|220-a", "220|b", "220L|220 c"}, io.EOF},
		{"H18: CR CR LF", "220-a\r\r\nb\r\r\n220 c\r\r\r\n", []string{"220F|220-a", "220|b", "220L|220 c"}, io.EOF},
		{"H18: bare code", "226\r\n226\n200 \r\n", []string{"226FL|226 ", "226FL|226 ", "200FL|200 "}, io.EOF},
		{"H18: CR within a line", "226 a\rb\r\n", []string{"226FL|226 a?b"}, io.EOF},
		{"H18: NUL within a line", "226-a\x00\x00b\r\n\x00\r\n226 c\r\n", []string{"226F|226-a??b", "226|", "226L|226 c"}, io.EOF},
		{"H88: NUL after CRLF", "220-a\r\n\x00220-b\r\n\x00220 c\r\n\x00331 d\r\n\x00", []string{"220F|220-a", "220|220-b", "220L|220 c", "331FL|331 d"}, io.EOF},
		{"H88: NUL before CRLF", "220 a\x00\r\n331 b\r\x00\n", []string{"220FL|220 a", "331FL|331 b"}, io.EOF},
		{"H88: LF CR", "220-a\n\r b\n\r220 c\n\r331 d\n\r", []string{"220F|220-a", "220| b", "220L|220 c", "331FL|331 d"}, io.EOF},
		{"H88: blanks before the code", "  220 a\r\n\t331 b\r\n", []string{"220FL|220 a", "331FL|331 b"}, io.EOF},
		{"H88: blanks before each code", " 220-a\r\n 220 b\r\n220 c\r\n", []string{"220F|220-a", "220L|220 b", "220FL|220 c"}, io.EOF},
		{"RFC 959 §4.2: blanks before a code in the middle", "220-a\r\n 220 b\r\n220 c\r\n", []string{"220F|220-a", "220| 220 b", "220L|220 c"}, io.EOF},
		{"H88: Telnet commands before the code", "\xff\xfb\x01\xff\xf1220-a\r\n\xff\xf1220 b\r\n\xf2 331 c\r\n", []string{"220F|220-a", "220L|220 b", "331FL|331 c"}, io.EOF},
		{"H88: nothing but Telnet commands", "\xff\xf1\r\n\xff\xfb\r\n220 a\r\n", []string{"220FL|220 a"}, io.EOF},
		{"H88: a tab after the code", "220\ta\r\n", []string{"220FL|220 a"}, io.EOF},
		{"H88: another code ends it", "553-a\r\n553-b\r\n550 c\r\n", []string{"553F|553-a", "553|553-b", "553|550 c"}, io.ErrUnexpectedEOF},
		{"H88: a blank for the hyphen", "211 a\r\n b\r\n211 c\r\n", []string{"211FL|211 a", "0| b", "211FL|211 c"}, io.EOF},
		{"H18: blank lines between replies", "\r\n220 a\r\n\r\n \n\r\r\n226 b\r\n\r\n", []string{"220FL|220 a", "226FL|226 b"}, io.EOF},
		{"H19: the longest line", "220 " + long + "\n", []string{"220FL|220 " + long}, io.EOF},
		{"H19: one byte more", "220 x" + long + "\n", nil, ErrLineTooLong},
		{"H19: too long in the middle", "220-a\r\n" + strings.Repeat("x", 2*MaxReplyLine), []string{"220F|220-a"}, ErrLineTooLong},
		{"H28: any byte is text", "257 \"\xff\xe4\x1b \" \t \r\n", []string{"257FL|257 \"\xff\xe4\x1b \" \t "}, io.EOF},
		{"every class", "110 a\n299 b\n350 c\n421 d\n599 e\n", []string{"110FL|110 a", "299FL|299 b", "350FL|350 c", "421FL|421 d", "599FL|599 e"}, io.EOF},
		{"H88: no code", "hello\r\n220 a\r\n", []string{"0|hello", "220FL|220 a"}, io.EOF},
		{"H88: no code after a reply", "220 a\r\n b\rc\r\n", []string{"220FL|220 a", "0| b?c"}, io.EOF},
		{"code 099", "099 a\r\n", []string{"0|099 a"}, io.EOF},
		{"H88: code 600", "600 a\r\n999 b\r\n", []string{"600FL|600 a", "999FL|999 b"}, io.EOF},
		{"two digits", "22 a\r\n", []string{"0|22 a"}, io.EOF},
		{"four digits", "2200 a\r\n", []string{"0|2200 a"}, io.EOF},
		{"no space after the code", "220Hello\r\n", []string{"0|220Hello"}, io.EOF},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", nil, ErrReplySyntax},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n", nil, ErrReplySyntax},
		{"TLS alert", "\x15\x03\x01\x00\x02\x02\n", nil, ErrReplySyntax},
		{"H88: another protocol after a reply", "220 a\r\nHTTP/1.1 b\r\n", []string{"220FL|220 a", "0|HTTP/1.1 b"}, io.EOF},
		{"unterminated", "220 a\r\n226 b", []string{"220FL|220 a"}, io.ErrUnexpectedEOF},
		{"the end in the middle of a reply", "220-a\r\n", []string{"220F|220-a"}, io.ErrUnexpectedEOF},
	} {
		for _, s := range segmentations {
			t.Run(tt.name+"/"+s.name, func(t *testing.T) {
				got, err := readReplies(s.wrap(strings.NewReader(tt.input)))
				if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) {
					t.Errorf("%.60q reads as %.60q, %v; want %.60q, %v", tt.input, got, err, tt.want, tt.err)
				}
			})
		}
	}
}

// Behind a line that is no reply nothing can be trusted to be one.
func TestReplyErrorsStay(t *testing.T) {
	for input, want := range map[string]error{
		strings.Repeat("hello\r\n", maxStray+1) + "220 a\r\n":                                        ErrReplySyntax,
		strings.Repeat("x", maxStrayBytes-100) + "\r\n" + strings.Repeat("x", 101) + "\r\n220 a\r\n": ErrReplySyntax,
		strings.Repeat("x", MaxReplyLine+1) + "\r\n220 a\r\n":                                        ErrLineTooLong,
	} {
		r := NewReplyReader(strings.NewReader(input))
		for l, err := r.Read(); err == nil && l.Code == 0; {
			l, err = r.Read()
		}
		for range 2 {
			if l, err := r.Read(); !errors.Is(err, want) {
				t.Errorf("%.20q: Read = %+v, %v; want %v", input, l, err, want)
			}
		}
	}
}

// H11: what is buffered must be known before anything is waited for; a blank
// line between replies is nothing to wait for.
func TestReplyMore(t *testing.T) {
	for _, tt := range []struct {
		input string
		want  bool
		loose bool
	}{
		{"150 a\r\n", false, false},
		{"150 a\r\n226 b\r", false, false},
		{"150 a\r\n226 b\r\n", true, false},
		{"150 a\r\n\r\n", false, false},
		{"150 a\r\n\r\n226 b\r\n", true, false},
		{"150-a\r\n\r\n", true, false},
		{"150 a\r\n\x00226 b\r\n", true, false},
		{"150 a\r\n\x00\r\n", false, false},
		{"211 a\r\n b\r\n", true, true},
		{"211-a\r\n b\r\n", true, false},
	} {
		if l, err := NewReplyReader(strings.NewReader(tt.input)).Read(); err != nil || l.More != tt.want || l.Loose != tt.loose {
			t.Errorf("%q: More, Loose = %v, %v, %v; want %v, %v", tt.input, l.More, l.Loose, err, tt.want, tt.loose)
		}
	}
}

// H88: the reply ends where the session says so, also while Fill waits.
func TestReplyEnd(t *testing.T) {
	r := NewReplyReader(strings.NewReader("553-a\r\n550 b\r\n230 c\r\n"))
	for _, other := range []int{0, 550} {
		if l, err := r.Read(); err != nil || l.Code != 553 || l.Last || l.Other != other {
			t.Fatalf("reads %+v, %v", l, err)
		}
	}
	r.End()
	if l, err := r.Read(); err != nil || l.Code != 230 || !l.First || !l.Last {
		t.Errorf("reads %+v, %v", l, err)
	}
}

// H88: no line that is no reply may bring a client an address.
func TestReadsAsPassive(t *testing.T) {
	for line, want := range map[string]bool{
		"227 (1,2,3,4,5,6)": true, " \t\x00229 x": true, "\xff\xfb\x01227": true, "\xff\xfaa b\xff\xf0 227": true,
		"2\xff\xf127 x": true, "2\xff\xfbx27 x": true, "\xef\xbb\xbf227 x": true, "\x1b[22;7m": true, "2 2 7": true, "227x": true, "2270": true,
		"": false, "x227": false, "127": false, "22": false, "Hello 227": false, "\xff\xf1Hello 2": false,
	} {
		if got := ReadsAsPassive([]byte(line)); got != want {
			t.Errorf("ReadsAsPassive(%q) = %v; want %v", line, got, want)
		}
	}
}

// H68: bytes after a server's 234 must be seen.
func TestReplyBuffered(t *testing.T) {
	for input, want := range map[string]int{
		"234 a\r\n":     0,
		"234 a\r\n2":    1,
		"234 a\r\n\r\n": 2,
	} {
		r := NewReplyReader(strings.NewReader(input))
		if _, err := r.Read(); err != nil || r.Buffered() != want {
			t.Errorf("%q: Buffered = %d, %v; want %d", input, r.Buffered(), err, want)
		}
	}
}

func TestReplyBufferShrinks(t *testing.T) {
	r := NewReplyReader(strings.NewReader("220 " + strings.Repeat("x", 60_000) + "\r\n220 a\r\n"))
	for range 2 {
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Fatal(err)
	}
	if got := cap(r.in.buf); got != smallBuffer {
		t.Errorf("after a long line the reader holds %d bytes; want %d", got, smallBuffer)
	}
}

func TestReply(t *testing.T) {
	const input = "211-a\r\n b\r\n\r\n211 c\r\n"
	rr := NewReplyReader(strings.NewReader(input))
	var r Reply
	for last := false; !last; {
		l, err := rr.Read()
		if err != nil {
			t.Fatal(err)
		}
		r.Add(l)
		last = l.Last
	}
	clear(rr.in.buf)
	if want := "211-a\n b\n\n211 c"; r.Code != 211 || r.Text() != want {
		t.Errorf("the reply is %d, %q; want 211, %q", r.Code, r.Text(), want)
	}
	if got := r.AppendLines([]byte("> ")); string(got) != "> "+input {
		t.Errorf("it is sent as %q; want %q", got, "> "+input)
	}
}

func TestAppendReply(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"Done.", "> 226 Done.\r\n"},
		{"", "> 226 \r\n"},
		{"a\nb", "> 226-a\r\n226 b\r\n"},
		{"a\r\nb\r\n", "> 226-a\r\n226-b\r\n226 \r\n"},
		{"a\r226 b\x00c", "> 226 a?226 b?c\r\n"},
	} {
		if got := AppendReply([]byte("> "), 226, tt.text); string(got) != tt.want {
			t.Errorf("AppendReply(226, %q) = %q; want %q", tt.text, got, tt.want)
		}
	}
	out := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { out = AppendReply(out[:0], 200, "OK.") }); n != 0 {
		t.Errorf("AppendReply costs %v allocations", n)
	}
}

func TestClass(t *testing.T) {
	for code, want := range map[int]int{120: 1, 226: 2, 331: 3, 421: 4, 599: 5} {
		if got := Class(code); got != want {
			t.Errorf("Class(%d) = %d; want %d", code, got, want)
		}
	}
}

// H88: a server that sends lines for ever that are no replies is none; they are counted from reply to reply.
func TestBlankLinesBetweenReplies(t *testing.T) {
	few := "200 ok\r\n" + strings.Repeat(" \r\n", maxStray)
	r := NewReplyReader(strings.NewReader(few + few + "\r\n200 never\r\n"))
	for range 2 {
		if l, err := r.Read(); err != nil || l.Code != 200 {
			t.Fatalf("reads %+v, %v", l, err)
		}
	}
	for range 2 {
		if l, err := r.Read(); !errors.Is(err, ErrReplySyntax) {
			t.Fatalf("reads %+v, %v; want ErrReplySyntax", l, err)
		}
	}
}
