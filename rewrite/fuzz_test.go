package rewrite

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// public is what the fuzz targets write in place of a server's address.
var public = netip.MustParseAddrPort("203.0.113.9:40000")

func checkLine(t *testing.T, line string) {
	t.Helper()
	if strings.ContainsAny(line, "\r\n\x00") {
		t.Errorf("the text holds a line end: %q", line)
	}
}

// onlyDigits returns the digits of a text.
func onlyDigits(text string) string {
	return strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, text)
}

func FuzzParsePASV(f *testing.F) {
	f.Add("227 Entering Passive Mode (10,0,0,5,195,80).")
	f.Add("227-a 1,2\n227 =10, 0,0,5 ,195,80")
	f.Add("227 (1,2,3,4,5,6,7) 256,1,2,3,4,5 -1,2,3,4,5,6")
	f.Fuzz(func(t *testing.T, text string) {
		got := ReplacePASV(text, public)
		checkLine(t, got)
		if a, err := ParsePASV(got); a != public || err != nil {
			t.Errorf("ReplacePASV(%q) = %q, which reads as %v, %v", text, got, a, err)
		}
		if d := onlyDigits(got); d != "22720301139"+"15664" || !strings.HasPrefix(got, "227 ") {
			t.Errorf("ReplacePASV(%q) = %q: more than its numbers", text, got)
		}
		a, err := ParsePASV(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		line := FormatPASV(a)
		checkLine(t, line)
		if again, err := ParsePASV(line); again != a || err != nil || !a.Addr().Is4() || a.Port() == 0 {
			t.Errorf("%q reads as %v; %q as %v, %v", text, a, line, again, err)
		}
	})
}

func FuzzParseEPSV(f *testing.F) {
	f.Add("229 Entering Extended Passive Mode (|||6446|)")
	f.Add("229-a\n229 (|1|10.0.0.5|6446|) (11164461) ()))6446))")
	f.Add("229 |||6446|")
	f.Add("229 (1) (||6446|)")
	f.Fuzz(func(t *testing.T, text string) {
		got := ReplaceEPSV(text, 40000)
		checkLine(t, got)
		if port, err := ParseEPSV(got); port != 40000 || err != nil {
			t.Errorf("ReplaceEPSV(%q) = %q, which reads as %d, %v", text, got, port, err)
		}
		if d := onlyDigits(got); d != "22940000" || !strings.HasPrefix(got, "229 ") {
			t.Errorf("ReplaceEPSV(%q) = %q: more than its numbers", text, got)
		}
		port, err := ParseEPSV(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		line := FormatEPSV(port)
		checkLine(t, line)
		if again, err := ParseEPSV(line); again != port || err != nil || port == 0 {
			t.Errorf("%q reads as %d; %q as %d, %v", text, port, line, again, err)
		}
	})
}

func FuzzParsePORT(f *testing.F) {
	f.Add("192,0,2,1,19,136")
	f.Add(" 192, 0,2 ,1,19,136 ")
	f.Fuzz(func(t *testing.T, arg string) {
		a, err := ParsePORT(arg)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		text := FormatPORT(a)
		checkLine(t, text)
		if again, err := ParsePORT(text); again != a || err != nil || !a.Addr().Is4() || a.Port() == 0 {
			t.Errorf("%q reads as %v; %q as %v, %v", arg, a, text, again, err)
		}
	})
}

func FuzzParseEPRT(f *testing.F) {
	f.Add("|1|192.0.2.1|5000|")
	f.Add("~2~2001:db8::1~5000~")
	f.Add("!2!::ffff:192.0.2.1!5000!")
	f.Fuzz(func(t *testing.T, arg string) {
		a, err := ParseEPRT(arg)
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrProtocol) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		text := FormatEPRT(a)
		checkLine(t, text)
		if again, err := ParseEPRT(text); again != a || err != nil || a.Addr().Is4In6() || a.Addr().Zone() != "" || a.Port() == 0 {
			t.Errorf("%q reads as %v; %q as %v, %v", arg, a, text, again, err)
		}
	})
}

func FuzzParseEPSVArg(f *testing.F) {
	for _, arg := range []string{"", "1", "2", "ALL", "3", "x"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		kind, err := ParseEPSVArg(arg)
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrProtocol) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		text := [...]string{EPSVDefault: "", EPSVIPv4: "1", EPSVIPv6: "2", EPSVAll: "ALL"}[kind]
		if !strings.EqualFold(strings.Trim(arg, " \t"), text) {
			t.Errorf("ParseEPSVArg(%q) = %d", arg, kind)
		}
	})
}

// FuzzEditFEAT: an edited list is one 211 reply, and a second edit changes
// nothing.
func FuzzEditFEAT(f *testing.F) {
	f.Add("211-Features:\n AUTH TLS\n    MODE Z\n\n211-REST STREAM\n211 End", "EPSV")
	f.Add("211 no-features", "AUTH TLS")
	f.Add("211-a\n211", "")
	f.Fuzz(func(t *testing.T, text, add string) {
		lines := strings.Split(text, "\n")
		if !strings.HasPrefix(lines[0], "211") || !strings.HasPrefix(lines[len(lines)-1], "211") {
			t.Skip() // no reply to FEAT ends otherwise
		}
		got := EditFEAT(lines, keepPlain, []string{add})
		for i, line := range got {
			checkLine(t, line)
			if inner := i > 0 && i < len(got)-1; inner && (line[0] != ' ' || len(line) < 2 || line[1] == ' ') {
				t.Errorf("EditFEAT(%q) = %q: line %d has not one space before it", lines, got, i)
			}
		}
		if again := EditFEAT(got, nil, []string{add}); !slices.Equal(again, got) {
			t.Errorf("EditFEAT(%q) = %q, again %q", lines, got, again)
		}
	})
}

func BenchmarkReplacePASV(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ReplacePASV("227 Entering Passive Mode (10,0,0,5,195,80).", public)
	}
}

func BenchmarkParsePASV(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParsePASV("227 Entering Passive Mode (10,0,0,5,195,80).")
	}
}

func BenchmarkParseEPRT(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParseEPRT("|2|2001:db8::1|5000|")
	}
}
