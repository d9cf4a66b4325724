package ftp

import "testing"

// Lines and bytes are counted of one reply at a time.
func TestExtent(t *testing.T) {
	var e Extent
	for i := range 2 * MaxUnsolicitedLines {
		if e.Endless(ReplyLine{First: i%MaxUnsolicitedLines == 0, Text: []byte("200-x")}) {
			t.Fatalf("line %d is too much", i)
		}
	}
	if !e.Endless(ReplyLine{}) {
		t.Error("a line more is not too much")
	}
	if !e.Endless(ReplyLine{First: true, Text: make([]byte, MaxUnsolicitedBytes)}) {
		t.Error("so many bytes are not too much")
	}
}
