package splice

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"ftproxy/internal/tcp"
)

// A calls is a conn that notes each write and answers each read with the next
// of its chunks, then with EOF.
type calls struct {
	net.Conn
	writes [][]byte
	chunks [][]byte
	err    error // of the next write
}

func (c *calls) Write(p []byte) (int, error) {
	if err := c.err; err != nil {
		c.err = nil
		return 0, err
	}
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), nil
}

func (c *calls) Read(p []byte) (int, error) {
	if len(c.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.chunks[0])
	if c.chunks[0] = c.chunks[0][n:]; len(c.chunks[0]) == 0 {
		c.chunks = c.chunks[1:]
	}
	return n, nil
}

func (c *calls) sizes() (sizes []int) {
	for _, w := range c.writes {
		sizes = append(sizes, len(w))
	}
	return sizes
}

func TestBatchWrites(t *testing.T) {
	const record = 16<<10 + 22
	for _, tt := range []struct {
		name    string
		held    bool
		records []int
		want    []int
	}{
		{"not held", false, []int{5, 6}, []int{5, 6}},
		{"nothing", true, nil, nil},
		{"one", true, []int{24}, []int{24}},
		{"a piece", true, []int{record, record, record, 24}, []int{3*record + 24}},
		{"more than fits", true, []int{bufferLarge - 10, 20, 30}, []int{bufferLarge - 10, 50}},
		{"one that never fits", true, []int{7, bufferLarge + 1, 8}, []int{7, bufferLarge + 1, 8}},
	} {
		below := &calls{}
		b := Batch(below).(*batch)
		if tt.held {
			b.hold()
		}
		var sent, got []byte
		for i, n := range tt.records {
			r := bytes.Repeat([]byte{byte(i)}, n)
			sent = append(sent, r...)
			if n, err := b.Write(r); n != len(r) || err != nil {
				t.Errorf("%s: Write = %d, %v", tt.name, n, err)
			}
		}
		if err := b.release(); err != nil {
			t.Errorf("%s: release = %v", tt.name, err)
		}
		for _, w := range below.writes {
			got = append(got, w...)
		}
		if !bytes.Equal(got, sent) || !slices.Equal(below.sizes(), tt.want) {
			t.Errorf("%s: writes of %v, want %v", tt.name, below.sizes(), tt.want)
		}
		if b.gathered != nil {
			t.Errorf("%s: it keeps its buffer", tt.name)
		}
		if b.total() != int64(len(sent)) {
			t.Errorf("%s: %d bytes counted", tt.name, b.total())
		}
	}
}

// After a write that failed no record goes out: it would follow a gap.
func TestBatchFails(t *testing.T) {
	below := &calls{err: os.ErrDeadlineExceeded}
	b := Batch(below).(*batch)
	b.hold()
	b.Write([]byte("lost"))
	if err := b.release(); err != os.ErrDeadlineExceeded {
		t.Errorf("release = %v", err)
	}
	if n, err := b.Write([]byte("close_notify")); n != 0 || err == nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if len(below.writes) > 0 || b.gathered != nil {
		t.Errorf("%q was written", below.writes)
	}
}

func TestBatchReads(t *testing.T) {
	b := Batch(&calls{chunks: [][]byte{[]byte("first"), []byte("second"), []byte("third")}}).(*batch)
	p := make([]byte, 4)
	want := func(text string, wantErr error) {
		t.Helper()
		if n, err := b.Read(p); string(p[:n]) != text || !errors.Is(err, wantErr) {
			t.Errorf("Read = %q, %v; want %q, %v", p[:n], err, text, wantErr)
		}
	}
	want("firs", nil)
	if b.buffer != nil {
		t.Error("it has a buffer before a copy runs")
	}
	b.readAhead()
	want("t", nil)
	b.giveBack()
	if b.buffer != nil {
		t.Error("it keeps a buffer with nothing in it")
	}
	want("seco", nil)
	b.giveBack() // it is in use
	b.here = true
	want("nd", nil)
	want("", os.ErrDeadlineExceeded)
	b.here = false
	want("thir", nil)
	if b.eof {
		t.Error("EOF before all is taken")
	}
	want("d", nil)
	want("", io.EOF)
	if !b.eof {
		t.Error("EOF not noticed")
	}
	b.stopAhead()
	if b.buffer != nil {
		t.Error("it keeps its buffer")
	}
	want("", io.EOF)
}

func TestBatchIsTransparent(t *testing.T) {
	ours, peer := halves()
	b := Batch(ours)
	if tcp.ResetOnClose(b, true); ours.linger != 0 || tcp.Underlying(b) != ours {
		t.Errorf("linger %d", ours.linger)
	}
	go tcp.CloseWrite(b)
	if n, err := peer.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the peer reads %d, %v", n, err)
	}
	pipe, _ := net.Pipe()
	c := newLeg(tls.Client(Batch(pipe), &tls.Config{}))
	if _, err := c.closeWrite(); err == nil || !strings.Contains(err.Error(), "handshake") {
		t.Errorf("closeWrite = %v, want only what TLS says", err)
	}
}
