package rewrite

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// addr reads an expected address; "" is the zero value, which stands for
// ErrSyntax.
func addr(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

func TestParsePASV(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"RFC 959 §5.4, vsftpd", "227 Entering Passive Mode (10,0,0,5,195,80).", "10.0.0.5:50000"},
		{"without code", "Entering Passive Mode (10,0,0,5,195,80)", "10.0.0.5:50000"},
		{"numbers alone", "10,0,0,5,195,80", "10.0.0.5:50000"},
		{"H1, H3: the address on the last line", "227-Hello\n 1,2\n227 Entering Passive Mode (10,0,0,5,195,80)", "10.0.0.5:50000"},
		{"H3: on the first line", "227-Entering Passive Mode (10,0,0,5,195,80)\n227 Go ahead", "10.0.0.5:50000"},
		{"H3: on a line in the middle", "227-Passive\n (10,0,0,5,195,80)\n227 Go ahead", "10.0.0.5:50000"},
		{"H3: the last line counts", "227-was (10,0,0,5,195,80)\n227 is 10,0,0,6,195,81", "10.0.0.6:50001"},
		{"H3: not split over lines", "227-10,0,0,\n5,195,80\n227 a", ""},
		{"H4: no parentheses, RFC 1123 §4.1.2.6", "227 Entering Passive Mode 10,0,0,5,195,80", "10.0.0.5:50000"},
		{"H4: mode. address, curl's test suite", "227 Entering passive mode. 10,0,0,5,195,80", "10.0.0.5:50000"},
		{"H4: listen to, curl's test suite", "227 mode set, listen to 10,0,0,5,195,80", "10.0.0.5:50000"},
		{"H4: =h1, publicfile", "227 =10,0,0,5,195,80", "10.0.0.5:50000"},
		{"H4: a full stop touches the number", "227 passive.10,0,0,5,195,80.", "10.0.0.5:50000"},
		{"H4: a letter touches the number", "227 to:h10,0,0,5,195,80x", "10.0.0.5:50000"},
		{"H4: brackets", "227 Passive [10,0,0,5,195,80]", "10.0.0.5:50000"},
		{"H4: blanks around numbers", "227 Passive ( 10, 0 ,0,\t5, 195 , 80 )", "10.0.0.5:50000"},
		{"H4: leading zeros", "227 Passive (010,000,000,005,195,080)", "10.0.0.5:50000"},
		{"H4: the closing parenthesis is missing", "227 Passive (10,0,0,5,195,80", "10.0.0.5:50000"},
		{"H4: other digits in the words", "227 Mode 2, try 3 of 4: (10,0,0,5,195,80) in 30 s", "10.0.0.5:50000"},
		{"H4: parentheses come before others", "227 1,2,3,4,5,6 (10,0,0,5,195,80)", "10.0.0.5:50000"},
		{"H4: otherwise the first", "227 10,0,0,5,195,80 1,2,3,4,5,6", "10.0.0.5:50000"},
		{"H4: a trailing comma", "227 (10,0,0,5,195,80,)", "10.0.0.5:50000"},
		{"H4: a list before it", "227 ports 1, 2, 3 (10,0,0,5,195,80)", "10.0.0.5:50000"},
		{"H4: five numbers", "227 (10,0,0,5,195)", ""},
		{"H4: seven numbers", "227 (10,0,0,5,195,80,1)", ""},
		{"H4: seven numbers, blanks between", "227 (1 , 10,0,0,5,195,80)", ""},
		{"H4: a gap between commas", "227 (10,0,0,,5,195,80)", ""},
		{"H4: dots between the numbers", "227 (10.0.0.5,195,80)", ""},
		{"H4: none", "227 Entering Passive Mode", ""},
		{"H4: empty", "", ""},
		{"H5: number above 255", "227 (10,0,0,256,195,80)", ""},
		{"H5: port byte above 255", "227 (10,0,0,5,65536,80)", ""},
		{"H5: overflow", "227 (10,0,0,5,195,18446744073709551696)", ""},
		{"H5: four digits", "227 (10,0,0,0005,195,80)", ""},
		{"H5: negative address", "227 (-10,0,0,5,195,80)", ""},
		{"H5: negative port, publicfile's warning", "227 (10,0,0,5,-61,80)", ""},
		{"H5: fraction at the front", "227 (1.10,0,0,5,195,80)", ""},
		{"H5: fraction at the end", "227 (10,0,0,5,195,80.5)", ""},
		{"H5: port 0", "227 (10,0,0,5,0,0)", ""},
		{"H5: a wrong six, then a right one", "227 (10,0,0,256,195,80) (10,0,0,5,195,80)", "10.0.0.5:50000"},
		{"H5: the lowest port", "227 (10,0,0,5,0,1)", "10.0.0.5:1"},
		{"H5: the highest numbers", "227 (255,255,255,255,255,255)", "255.255.255.255:65535"},
		{"H8: PASV answered with 229", "229 Entering Extended Passive Mode (|||50000|)", ""},
		{"H9: any address is read", "227 (0,0,0,0,195,80)", "0.0.0.0:50000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePASV(tt.text)
			if got != addr(tt.want) || errors.Is(err, ErrSyntax) != (tt.want == "") {
				t.Errorf("ParsePASV(%q) = %v, %v; want %v", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestFormatPASV(t *testing.T) {
	for a, want := range map[string]string{
		"203.0.113.9:40000":          "227 Entering Passive Mode (203,0,113,9,156,64).",
		"0.0.0.0:1":                  "227 Entering Passive Mode (0,0,0,0,0,1).",
		"255.255.255.255:65535":      "227 Entering Passive Mode (255,255,255,255,255,255).",
		"[::ffff:203.0.113.9]:40000": "227 Entering Passive Mode (203,0,113,9,156,64).",
		"[2001:db8::1]:40000":        "227 Entering Passive Mode (0,0,0,0,156,64).",
		"":                           "227 Entering Passive Mode (0,0,0,0,0,0).",
	} {
		if got := FormatPASV(addr(a)); got != want {
			t.Errorf("FormatPASV(%v) = %q; want %q", a, got, want)
		}
	}
}

func TestReplacePASV(t *testing.T) {
	const ours = "227 Entering Passive Mode (203,0,113,9,156,64)."
	for _, tt := range []struct{ name, text, want string }{
		{"H6: vsftpd", "227 Entering Passive Mode (10,0,0,5,195,80).", ours},
		{"H6: ProFTPD has no full stop", "227 Entering Passive Mode (10,0,0,5,195,80)", strings.TrimSuffix(ours, ".")},
		{"H6: other words stay", "227 Los geht's, f\xfcr: (10,0,0,5,195,80) ok", "227 Los geht's, f\xfcr: (203,0,113,9,156,64) ok"},
		{"H6: blanks between the numbers go", "227 Entering Passive Mode (10, 0, 0, 5, 195, 80).", ours},
		{"H6: blanks inside the parentheses", "227 Passive ( 10,0,0,5,195,80 )", ours},
		{"H6: no parentheses", "227 Passive 10,0,0,5,195,80", ours},
		{"H6: =h1, publicfile", "227 =10,0,0,5,195,80", ours},
		{"H6: no code", "Passive (10,0,0,5,195,80)", ours},
		{"H6: no words", "227 (10,0,0,5,195,80)", "227 (203,0,113,9,156,64)"},
		{"H3: several lines", "227-a\n227 Passive (10,0,0,5,195,80)", ours},
		{"H20: the address once more", "227 Passive (10,0,0,5,195,80) 10,0,0,5,195,80", ours},
		{"H20: the address in dots", "227 Passive (10,0,0,5,195,80) on 10.0.0.5", ours},
		{"H20: the address before it", "227 10.0.0.5 Passive (10,0,0,5,195,80)", ours},
		{"H23: a CR in the words", "227 Passive (10,0,0,5,195,80)\r227", ours},
		{"H25: a NUL in the words", "227 \x00(10,0,0,5,195,80)", ours},
		{"no address", "227 Passive", ours},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ReplacePASV(tt.text, addr("203.0.113.9:40000")); got != tt.want {
				t.Errorf("ReplacePASV(%q) = %q; want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestParsePORT(t *testing.T) {
	for _, tt := range []struct{ name, arg, want string }{
		{"RFC 959 §4.1.2", "192,0,2,1,19,136", "192.0.2.1:5000"},
		{"a trailing blank", "192,0,2,1,19,136 ", "192.0.2.1:5000"},
		{"blanks between", " 192, 0, 2, 1, 19, 136", "192.0.2.1:5000"},
		{"H41: any address and port is read", "0,0,0,0,0,1", "0.0.0.0:1"},
		{"H5: port 0", "192,0,2,1,0,0", ""},
		{"H5: number above 255", "192,0,2,1,19,256", ""},
		{"H5: negative", "192,0,2,1,-19,136", ""},
		{"a sign", "+192,0,2,1,19,136", ""},
		{"hexadecimal", "0xC0,0,2,1,19,136", ""},
		{"parentheses", "(192,0,2,1,19,136)", ""},
		{"five numbers", "192,0,2,1,19", ""},
		{"seven numbers", "192,0,2,1,19,136,1", ""},
		{"a comma at the end", "192,0,2,1,19,136,", ""},
		{"a comma at the front", ",192,0,2,1,19,136", ""},
		{"something behind", "192,0,2,1,19,136 x", ""},
		{"a number behind", "192,0,2,1,19,136 1", ""},
		{"a full stop behind", "192,0,2,1,19,136.", ""},
		{"EPRT's form", "|1|192.0.2.1|5000|", ""},
		{"blank", " ", ""},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePORT(tt.arg)
			if got != addr(tt.want) || errors.Is(err, ErrSyntax) != (tt.want == "") {
				t.Errorf("ParsePORT(%q) = %v, %v; want %v", tt.arg, got, err, tt.want)
			}
		})
	}
}
