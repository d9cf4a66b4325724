package integration

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A stressFile is a file of TestStress. Its name and each 32 bytes of its content
// tell the session that it belongs to, its number there, and its length. So bytes
// in the wrong place tell where they come from.
type stressFile struct {
	session int // of the control connection that names it, from 1
	seq     int
	size    int
}

const (
	recordSize = 32
	nameForm   = "f-%06x-%06x-%07x"
)

func (f stressFile) name() string { return fmt.Sprintf(nameForm, f.session, f.seq, f.size) }

func parseStressFile(name string) (stressFile, bool) {
	var f stressFile
	n, err := fmt.Sscanf(name, nameForm, &f.session, &f.seq, &f.size)
	return f, n == 3 && err == nil && f.name() == name
}

// mark is the first byte of every record, so that of short files, too, few look alike.
func (f stressFile) mark() byte { return '!' + byte((f.session*31+f.seq*7)%94) }

// fill writes the content from offset on, which is a multiple of recordSize. It goes
// on for ever: the size says where the file ends.
func (f stressFile) fill(p []byte, offset int) {
	record := []byte(fmt.Sprintf("%c%06x.%06x.%07x.%08x\n", f.mark(), f.session, f.seq, f.size, 0))
	const digits, number = "0123456789abcdef", recordSize - 9
	for block := offset / recordSize; len(p) > 0; block++ {
		for i, n := 7, block; i >= 0; i, n = i-1, n>>4 {
			record[number+i] = digits[n&15]
		}
		p = p[copy(p, record):]
	}
}

// A stressCheck compares what arrives with the file that must arrive.
type stressCheck struct {
	file    stressFile
	n       int    // bytes that arrived
	foreign string // the first that are not the file's; "" if all are
	want    []byte
}

// Write never fails: what it finds is in foreign.
func (c *stressCheck) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 && c.foreign == "" {
		c.step(&p)
	}
	c.n += len(p) // Once bytes are foreign, the others are only counted.
	return all, nil
}

func (c *stressCheck) step(p *[]byte) {
	left := max(c.file.size-c.n, 0)
	if left == 0 {
		c.report(*p, 0)
		return
	}
	start := c.n - c.n%recordSize
	n := min(len(*p), left, 32<<10)
	if need := c.n - start + n + recordSize; cap(c.want) < need {
		c.want = make([]byte, need)
	}
	want := c.want[:c.n-start+n]
	c.file.fill(want, start)
	want = want[c.n-start:]
	if got := (*p)[:n]; !bytes.Equal(got, want) {
		at := 0
		for got[at] == want[at] {
			at++
		}
		c.report(*p, at)
		return
	}
	*p, c.n = (*p)[n:], c.n+n
}

func (c *stressCheck) report(p []byte, at int) {
	shown := p[max(at-recordSize, 0):min(at+2*recordSize, len(p))]
	c.foreign = fmt.Sprintf("at byte %d: %q", c.n+at, shown)
}

// whole tells whether all of the file arrived and nothing else.
func (c *stressCheck) whole() bool { return c.foreign == "" && c.n == c.file.size }

// TestStressPattern: the check of TestStress finds a byte that is not the file's, one
// that is missing, and one too many.
func TestStressPattern(t *testing.T) {
	a := stressFile{session: 0x1234, seq: 77, size: 40_000}
	b := stressFile{session: 0x1235, seq: 77, size: 40_000}
	if f, ok := parseStressFile(a.name()); !ok || f != a {
		t.Errorf("%q is parsed as %+v, %v", a.name(), f, ok)
	}
	content := func(f stressFile) []byte {
		p := make([]byte, f.size)
		f.fill(p, 0)
		return p
	}
	own, other := content(a), content(b)
	for _, tt := range []struct {
		name    string
		got     []byte
		foreign string // "" is none
		whole   bool
	}{
		{"its own", own, "", true},
		{"cut", own[:39_999], "", false},
		{"nothing", nil, "", false},
		{"another's", other, "at byte 0", false},
		{"another's end", append(own[:20_000:20_000], other[20_000:]...), "at byte 20000", false},
		{"moved by a record", own[recordSize:], "at byte", false},
		{"one too many", append(own[:40_000:40_000], own[0]), "at byte 40000", false},
	} {
		for _, piece := range []int{1, 31, 1000, 40_001} {
			c := &stressCheck{file: a}
			for p := tt.got; len(p) > 0; p = p[min(piece, len(p)):] {
				c.Write(p[:min(piece, len(p))])
			}
			if !strings.HasPrefix(c.foreign, tt.foreign) || (c.foreign == "") != (tt.foreign == "") || c.whole() != tt.whole {
				t.Errorf("%s in pieces of %d: foreign %q, whole %v", tt.name, piece, c.foreign, c.whole())
			}
		}
	}
}
