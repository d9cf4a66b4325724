package ftp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// endless sends the same line again and again, in segments of any size.
type endless struct {
	line []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.line[e.at:])
	e.at = (e.at + n) % len(e.line)
	return n, nil
}

func TestBufferGrowsAndShrinks(t *testing.T) {
	long := "RETR " + strings.Repeat("x", 3000) + "\r\n"
	r := NewCommandReader(iotest.OneByteReader(strings.NewReader(long + "PWD\r\n")))
	if got := cap(r.in.buf); got != smallBuffer {
		t.Errorf("a new reader holds %d bytes; want %d", got, smallBuffer)
	}
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	if got := cap(r.in.buf); got != 4096 {
		t.Errorf("a line of %d bytes takes a buffer of %d; want 4096", len(long), got)
	}
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	if got := cap(r.in.buf); got != smallBuffer {
		t.Errorf("after a long line the reader holds %d bytes; want %d", got, smallBuffer)
	}
}

// Whatever is left after a long line, there is room for what follows.
func TestBufferRemainder(t *testing.T) {
	first := "RETR " + strings.Repeat("x", 1100) + "\r\n"
	for left := range 2 * smallBuffer {
		second := "STOR " + strings.Repeat("y", 2*smallBuffer)
		segments := io.MultiReader(strings.NewReader(first+second[:left]), strings.NewReader(second[left:]+"\r\n"))
		r := NewCommandReader(segments)
		for _, want := range []string{first, second + "\r\n"} {
			c, err := r.Read()
			if err != nil || string(c.AppendLine(nil)) != want {
				t.Fatalf("%d bytes left: Read = %.20q, %v; want %.20q", left, c.AppendLine(nil), err, want)
			}
		}
	}
}

func TestBufferLimit(t *testing.T) {
	r := NewCommandReader(strings.NewReader(strings.Repeat("x", MaxCommandLine) + "\n"))
	if c, err := r.Read(); err != nil || c.Fault != FaultSyntax {
		t.Fatalf("Read = %v, %v; want the longest line", c.Fault, err)
	}
	if got := len(r.in.buf); got != MaxCommandLine+1 {
		t.Errorf("the longest line takes a buffer of %d bytes; want %d", got, MaxCommandLine+1)
	}
}

// watched notes the most room that a reader offered.
type watched struct {
	r    io.Reader
	most int
}

func (w *watched) Read(p []byte) (int, error) {
	w.most = max(w.most, len(p))
	return w.r.Read(p)
}

func TestBufferDiscardTakesNoMemory(t *testing.T) {
	w := &watched{r: strings.NewReader(strings.Repeat("x", 10<<20) + "\nPWD\r\n")}
	r := NewCommandReader(w)
	if c, err := r.Read(); err != nil || c.Fault != FaultTooLong {
		t.Fatalf("Read = %+v, %v; want FaultTooLong", c, err)
	}
	w.most = 0
	if n := testing.AllocsPerRun(1, func() { r.Read() }); n != 0 {
		t.Errorf("discarding costs %v allocations", n)
	}
	if w.most != smallBuffer {
		t.Errorf("discarding reads %d bytes at a time; want %d", w.most, smallBuffer)
	}
}

func TestBufferErrors(t *testing.T) {
	t.Run("an error with the last bytes", func(t *testing.T) {
		broken := errors.New("broken")
		r := NewCommandReader(iotest.DataErrReader(io.MultiReader(strings.NewReader("PWD\r\nQUIT\r\n"), iotest.ErrReader(broken))))
		for _, want := range []string{"PWD", "QUIT"} {
			if c, err := r.Read(); err != nil || c.Verb != want {
				t.Errorf("Read = %+v, %v; want %s", c, err, want)
			}
		}
		if _, err := r.Read(); !errors.Is(err, broken) {
			t.Errorf("the error is %v; want %v", err, broken)
		}
	})
	t.Run("a timeout within a line", func(t *testing.T) {
		r := NewCommandReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("\xff\xfd\x01PWD\r\n"))))
		if _, err := r.Read(); err != iotest.ErrTimeout {
			t.Fatalf("the error is %v; want a timeout", err)
		}
		c, err := r.Read()
		if err != nil || c.Verb != "PWD" || !bytes.Equal(c.Telnet, []byte("\xff\xfc\x01")) {
			t.Errorf("Read = %+v, %v; want PWD", c, err)
		}
	})
	t.Run("a timeout between replies", func(t *testing.T) {
		r := NewReplyReader(&interruptedReader{strings.NewReader("220 a\r\n")})
		if _, err := r.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the error is %v; want a timeout", err)
		}
	})
	t.Run("a reader that never reads", func(t *testing.T) {
		r := NewReplyReader(readerFunc(func([]byte) (int, error) { return 0, nil }))
		if _, err := r.Read(); err != io.ErrNoProgress {
			t.Errorf("the error is %v; want %v", err, io.ErrNoProgress)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPassingThroughAllocatesNothing(t *testing.T) {
	out := make([]byte, 0, 1024)
	for _, line := range []string{
		"NOOP\r\n",
		"retr some/path/with \xff and spaces \r\n",
		"STOR " + strings.Repeat("x", smallBuffer-len("STOR \r\n")) + "\r\n",
		"\xff\xf4\xff\xf2ABOR\r\n",
	} {
		r := NewCommandReader(&endless{line: []byte(line)})
		if n := testing.AllocsPerRun(1000, func() {
			c, err := r.Read()
			if err != nil || c.Fault != nil {
				t.Fatal(c.Fault, err)
			}
			out = c.AppendLine(out[:0])
		}); n != 0 {
			t.Errorf("command %.30q costs %v allocations", line, n)
		}
	}
	for _, reply := range []string{
		"226 Transfer complete.\r\n",
		"226\n",
		"211-Status\r\n 1\r\n\r\n226 no\r\r\n211 End\r\n",
		"257 \"" + strings.Repeat("x", smallBuffer-len("257 \"\r\n")) + "\r\n",
	} {
		r := NewReplyReader(&endless{line: []byte(reply)})
		if n := testing.AllocsPerRun(1000, func() {
			l, err := r.Read()
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out[:0], l.Text...), "\r\n"...)
		}); n != 0 {
			t.Errorf("reply %.30q costs %v allocations", reply, n)
		}
	}
}

func BenchmarkCommandReader(b *testing.B) {
	line := []byte("RETR some/path/to/a/file.txt\r\n")
	r, out := NewCommandReader(&endless{line: line}), make([]byte, 0, 512)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		c, _ := r.Read()
		out = c.AppendLine(out[:0])
	}
}

func BenchmarkReplyReader(b *testing.B) {
	line := []byte("150 Opening BINARY mode data connection for file.txt (1234 bytes).\r\n")
	r, out := NewReplyReader(&endless{line: line}), make([]byte, 0, 512)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		l, _ := r.Read()
		out = append(append(out[:0], l.Text...), "\r\n"...)
	}
}
