package ftp

import "testing"

// The end of a reply gets the reply's code, unless that would hide a failure or its class.
func TestEndWith(t *testing.T) {
	for _, tt := range []struct {
		code, other     int
		gathered, shown bool
		want            string
		wantCode        int
		anew            bool
	}{
		{553, 550, false, true, "553 No.", 553, false},
		{226, 550, false, true, "550 No.", 550, false},
		{150, 550, false, true, "150 No.", 150, false},
		{226, 550, true, true, "550 No.", 550, true},
		{553, 550, true, false, "553 No.", 553, false},
		{211, 250, false, false, "211 End.", 211, false},
	} {
		text := AppendReply(nil, tt.other, "No.")
		l := ReplyLine{Code: tt.code, Other: tt.other, Text: text[:len(text)-2]}
		got, anew := EndWith(l, tt.gathered, tt.shown)
		if string(got.Text) != tt.want || got.Code != tt.wantCode || anew != tt.anew || !got.Last {
			t.Errorf("%+v: %+v, %v", tt, got, anew)
		}
	}
}

// A reply of one line becomes the first of several, once, and may be the end all the same.
func TestDoubt(t *testing.T) {
	text := []byte("211 Features:")
	d := NewDoubt(ReplyLine{Code: 211, First: true, Last: true, Text: text})
	text[0] = 'x'
	if l := d.Whole(); string(l.Text) != "211 Features:" || !l.First || d.InMiddle() || d.EndsWith(ReplyLine{Code: 211, First: true}) {
		t.Errorf("%+v", l)
	}
	if l, ok := d.First(); !ok || string(l.Text) != "211-Features:" || l.Last {
		t.Errorf("%+v, %v", l, ok)
	}
	if _, again := d.First(); again || !d.EndsWith(ReplyLine{Code: 211, First: true}) || d.EndsWith(ReplyLine{Code: 212, First: true}) {
		t.Error("it begins twice, or does not end")
	}
	if l := d.Whole(); string(l.Text) != "211 Features:" || l.First || !l.Last {
		t.Errorf("%+v", l)
	}
}
