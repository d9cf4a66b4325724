package ftp

import (
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"RETR a b.txt":               "RETR a b.txt",
		"ä€𝄞":                        "ä€𝄞",
		"a\r\n{\"level\":1}":         `a\r\n{"level":1}`,
		"\x1b[2J\x00\x7f\t":          `\x1b[2J\x00\x7f\t`,
		"\xe4\xff":                   `\xe4\xff`,
		"a\\x00":                     `a\\x00`,
		"\ufffd'":                    "\ufffd'",
		"\u202egpj.exe":              `\u202egpj.exe`,              // turns round what follows
		"\u202a\u2066\u2069\u200e":   `\u202a\u2066\u2069\u200e`,   // the other bidirectional controls
		"a\u200b\u200c\u200d\u2060b": `a\u200b\u200c\u200d\u2060b`, // of no width
		"\u2028\u2029\u0085\u009b":   `\u2028\u2029\u0085\u009b`,   // ends of lines, and of what a terminal obeys
		"\ufeff":                     `\ufeff`,                     // the byte order mark
		"\u00ad\u061c":               `\u00ad\u061c`,               // formats within a script
		"\ue000\U00100000":           `\ue000\U00100000`,           // private use
		"\U000e0041":                 `\U000e0041`,                 // a tag
		"\u3164\u115f\uffa0\u034f":   `\u3164\u115f\uffa0\u034f`,   // letters and marks that are drawn as nothing
		"\ufe0f\U000e0100":           `\ufe0f\U000e0100`,           // variation selectors
		"\u00a0\u3000\u2003":         `\u00a0\u3000\u2003`,         // blanks
		"\u0378":                     `\u0378`,                     // not assigned
	} {
		if got := Quote([]byte(in)); got != want {
			t.Errorf("Quote(%q) = %s; want %s", in, got, want)
		}
	}
}

// Quote cuts between two escapes or characters, and counts what is missing as it came.
func TestQuoteLong(t *testing.T) {
	whole := strings.Repeat("x", MaxQuoted)
	for in, want := range map[string]string{
		whole:                        whole,
		whole + "y":                  whole + "…(+1 bytes)",
		whole + "ä\n":                whole + "…(+3 bytes)",
		whole[1:] + "äy":             whole[1:] + "…(+3 bytes)",
		whole[3:] + "\xff":           whole[3:] + "…(+1 bytes)",
		whole[4:] + "\xff":           whole[4:] + `\xff`,
		strings.Repeat("\xff", 4096): strings.Repeat(`\xff`, MaxQuoted/4) + "…(+4032 bytes)",
	} {
		if got := Quote([]byte(in)); got != want {
			t.Errorf("Quote(%q) = %s; want %s", in, got, want)
		}
	}
}

func TestQuoteError(t *testing.T) {
	for in, want := range map[string]string{
		"greeting: " + Quote([]byte("a\\\x1b")): `greeting: a\\\x1b`,
		"one\ntwo":                              "one; two",
		"\u202e\x00":                            `\u202e\x00`,
		strings.Repeat("x", 2000):               strings.Repeat("x", MaxQuotedError) + "…(+976 bytes)",
	} {
		if got := QuoteError(in); got != want {
			t.Errorf("QuoteError(%q) = %s; want %s", in, got, want)
		}
	}
}
