package ftp

import "bytes"

// A Doubt is a reply whose end is in doubt (H88). Either its line is one in
// the middle that has another code and a blank, so it could be the end ("553-" and then
// "550 "); or the line is the whole of a reply, but lines without a code follow
// ("211 Features:"), so it could be the first.
type Doubt struct {
	line  ReplyLine
	begun bool // line was passed on as the first of several
}

// NewDoubt holds a line until the next shows what it was, or none comes.
func NewDoubt(l ReplyLine) *Doubt {
	l.Text = bytes.Clone(l.Text)
	return &Doubt{line: l}
}

// InMiddle tells whether the line has begun no reply.
func (d *Doubt) InMiddle() bool { return d.line.Other != 0 }

// Line is the one that is held.
func (d *Doubt) Line() ReplyLine { return d.line }

// First gives the line as the first of several, once.
func (d *Doubt) First() (first ReplyLine, ok bool) {
	if d.begun {
		return first, false
	}
	d.begun = true
	first = d.line
	first.Text = bytes.Clone(first.Text)
	first.Text[3], first.Last = '-', false
	return first, true
}

// EndsWith tells whether a line ends the reply of several lines that was passed on.
func (d *Doubt) EndsWith(l ReplyLine) bool { return d.begun && l.Code == d.line.Code && l.First }

// Whole is the line where no other ends the reply. One whose first line was passed on has it
// as its last word, too.
func (d *Doubt) Whole() ReplyLine {
	l := d.line
	if d.begun {
		l.First = false
	}
	return l
}

// EndWith makes a line with another code than its reply's the end of the reply. It gets the
// reply's code, because some clients wait for that and others for any. But a failure stays one,
// and an end of another class is passed on as it came. shown: the reply is passed on line by
// line, and the client may see this one; otherwise the end has other words. gathered: the
// reply is read whole; anew tells that what was read so far counts no more.
func EndWith(l ReplyLine, gathered, shown bool) (end ReplyLine, anew bool) {
	l.Last = true
	failed := Class(l.Code) > 1 && Class(l.Code) < 4 && Class(l.Other) >= 4
	switch {
	case !gathered && !shown:
		l.Text = AppendReply(nil, l.Code, "End.")
		l.Text = l.Text[:len(l.Text)-len("\r\n")]
	case gathered && failed:
		l.Code, anew = l.Other, true
	case !gathered && Class(l.Code) > 1 && Class(l.Other) > 1 && Class(l.Code) != Class(l.Other):
		l.Code = l.Other
	default:
		copy(l.Text, AppendReply(nil, l.Code, "")[:3])
	}
	return l, anew
}
