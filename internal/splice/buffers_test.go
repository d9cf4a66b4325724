package splice

import "testing"

// Large buffers are bounded; beyond that there are small ones, and all are used again.
func TestBufferPool(t *testing.T) {
	var p bufferPool
	var out [][]byte
	for i := range mostLarge + 10 {
		b := p.get()
		if want := map[bool]int{true: bufferLarge, false: bufferSmall}[i < mostLarge]; len(b) != want {
			t.Fatalf("buffer %d has %d bytes, want %d", i, len(b), want)
		}
		out = append(out, b)
	}
	for _, b := range out {
		p.put(b)
	}
	if n := p.used.Load(); n != 0 {
		t.Errorf("%d large buffers are in use, want none", n)
	}
	if b := p.get(); len(b) != bufferLarge {
		t.Errorf("the next one has %d bytes", len(b))
	}
}
