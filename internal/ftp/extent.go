package ftp

// What a server may send in a reply that nobody waits for, and in a 421.
const (
	MaxUnsolicitedBytes = 64 << 10
	MaxUnsolicitedLines = 1000
)

// An Extent is how long such a reply is so far.
type Extent struct{ bytes, lines int }

// Endless counts a line of the reply, and tells whether it is too long by now.
func (e *Extent) Endless(l ReplyLine) bool {
	if l.First {
		*e = Extent{}
	}
	e.bytes += len(l.Text) + len("\r\n")
	e.lines++
	return e.bytes > MaxUnsolicitedBytes || e.lines > MaxUnsolicitedLines
}
