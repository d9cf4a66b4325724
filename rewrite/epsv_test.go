package rewrite

import (
	"errors"
	"testing"
)

func TestParseEPSV(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       uint16 // 0 wants ErrSyntax
	}{
		{"RFC 2428 §3", "229 Entering Extended Passive Mode (|||6446|)", 6446},
		{"without code", "(|||6446|)", 6446},
		{"H3: of several lines", "229-a (|||1|)\n229 Entering Extended Passive Mode (|||6446|)", 6446},
		{"H3: on the first line", "229-Entering (|||6446|)\n229 ok", 6446},
		{"H7: exclamation marks, the lowest delimiter", "229 (!!!6446!)", 6446},
		{"H7: tildes, the highest", "229 (~~~6446~)", 6446},
		{"H7: commas", "229 (,,,6446,)", 6446},
		{"H7: letters", "229 (xxx6446x)", 6446},
		{"H7: digits", "229 (11164461)", 6446},
		{"H7: digits that differ", "229 (11164462)", 0},
		{"H7: a blank in a field", "229 (a ba a6446a)", 0},
		{"H7: opening parentheses", "229 ((((6446()", 6446},
		{"H7: closing parentheses", "229 ()))6446))", 6446},
		{"H7: filled fields", "229 (|1|10.0.0.5|6446|)", 6446},
		{"H7: filled IPv6 fields", "229 (|2|2001:db8::1|6446|)", 6446},
		{"H7: other parentheses before it", "229 (EPSV) is (1 of 2) ok (|||6446|)", 6446},
		{"H7: no parentheses", "229 Entering Extended Passive Mode |||6446|", 6446},
		{"H7: a blank for a delimiter", "229 (   6446 )", 0},
		{"H7: byte 127 for a delimiter", "229 (\x7f\x7f\x7f6446\x7f)", 0},
		{"H7: delimiters differ", "229 (|||6446!)", 0},
		{"H7: two delimiters", "229 Entering (||6446|)", 6446},
		{"H7: one delimiter", "229 (|6446|)", 6446},
		{"H7: four delimiters", "229 (||||6446|)", 6446},
		{"H7: none behind the port", "229 (|||6446)", 6446},
		{"H7: two behind it", "229 (1 of 2) (!!6446!!)", 6446},
		{"H7: no delimiter", "229 (6446)", 0},
		{"H7: two delimiters and port 0", "229 (||0|)", 0},
		{"H7: two ports", "229 (|1|6446)", 0},
		{"H7: no closing parenthesis behind letters", "229 (xxx6446x", 0},
		{"H5: port 0", "229 (|||0|)", 0},
		{"H5: port 65535", "229 (|||65535|)", 65535},
		{"H5: port 65536", "229 (|||65536|)", 0},
		{"H5: six digits", "229 (|||006446|)", 0},
		{"H5: negative", "229 (|||-6446|)", 0},
		{"H5: no port", "229 (||||)", 0},
		{"H5: no port between digits", "229 (1111)", 0},
		{"H8: EPSV answered with 227", "227 Entering Passive Mode (10,0,0,5,195,80).", 0},
		{"H8: EPSV answered with 200", "200 OK", 0},
		{"cut off", "229 (|||6446", 0},
		{"cut off at the parenthesis", "229 (", 0},
		{"empty", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseEPSV(tt.text)
			if got != tt.want || errors.Is(err, ErrSyntax) != (tt.want == 0) {
				t.Errorf("ParseEPSV(%q) = %d, %v; want %d", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestReplaceEPSV(t *testing.T) {
	const ours = "229 Entering Extended Passive Mode (|||40000|)"
	for _, tt := range []struct{ name, text, want string }{
		{"RFC 2428 §3", "229 Entering Extended Passive Mode (|||6446|)", ours},
		{"vsftpd's full stop stays", "229 Entering Extended Passive Mode (|||6446|).", ours + "."},
		{"other words stay", "229 Bitte sch\xf6n (|||6446|)", "229 Bitte sch\xf6n (|||40000|)"},
		{"H7: another delimiter", "229 ok (!!!6446!)", ours},
		{"H7: filled fields", "229 ok (|1|10.0.0.5|6446|)", ours},
		{"H20: a host name in a field", "229 ok (||inside|6446|)", ours},
		{"H7: no parentheses", "229 ok |||6446|", ours},
		{"H7: no closing parenthesis", "229 ok (|||6446|", ours},
		{"H3: several lines", "229-ok\n229 (|||6446|)", ours},
		{"H20: an address in the words", "229 10.0.0.5 (|||6446|)", ours},
		{"H20: the port once more", "229 (|||6446|) port 6446", ours},
		{"H23: a line end in the words", "229 ok (|||6446|)\r\n", ours},
		{"H8: PASV's form", "227 Entering Passive Mode (10,0,0,5,195,80).", ours},
		{"no code", "(|||6446|)", ours},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ReplaceEPSV(tt.text, 40000); got != tt.want {
				t.Errorf("ReplaceEPSV(%q) = %q; want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestParseEPSVArg(t *testing.T) {
	for _, tt := range []struct {
		name, arg string
		want      EPSVKind
		err       error
	}{
		{"RFC 2428 §3: none", "", EPSVDefault, nil},
		{"blank", " ", EPSVDefault, nil},
		{"H39: IPv4", "1", EPSVIPv4, nil},
		{"H39: IPv6", "2", EPSVIPv6, nil},
		{"H39: a trailing blank", "2 ", EPSVIPv6, nil},
		{"H39: another protocol", "3", 0, ErrProtocol},
		{"H39: protocol 0", "0", 0, ErrProtocol},
		{"H39: no number", "IPv4", 0, ErrSyntax},
		{"H39: negative", "-1", 0, ErrSyntax},
		{"H39: no protocol has 17 bits", "65537", 0, ErrSyntax},
		{"H38: ALL", "ALL", EPSVAll, nil},
		{"H38: all", "all", EPSVAll, nil},
		{"H38: ALL of them", "ALL of them", 0, ErrSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseEPSVArg(tt.arg)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ParseEPSVArg(%q) = %v, %v; want %v, %v", tt.arg, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestParseEPRT(t *testing.T) {
	for _, tt := range []struct {
		name, arg, want string
		err             error
	}{
		{"RFC 2428 §2: IPv4", "|1|132.235.1.2|6275|", "132.235.1.2:6275", nil},
		{"RFC 2428 §2: IPv6", "|2|1080::8:800:200C:417A|5282|", "[1080::8:800:200c:417a]:5282", nil},
		{"H40: another delimiter", "!1!192.0.2.1!5000!", "192.0.2.1:5000", nil},
		{"H40: the highest delimiter", "~2~::1~5000~", "[::1]:5000", nil},
		{"H40: commas", ",1,192.0.2.1,5000,", "192.0.2.1:5000", nil},
		{"H40: IPv4 mapped into IPv6", "|2|::ffff:192.0.2.1|5000|", "192.0.2.1:5000", nil},
		{"H40: a trailing blank", "|1|192.0.2.1|5000| ", "192.0.2.1:5000", nil},
		{"H41: any address and port is read", "|1|0.0.0.0|1|", "0.0.0.0:1", nil},
		{"H40: brackets", "|2|[2001:db8::1]|5000|", "", ErrSyntax},
		{"H40: a zone", "|2|fe80::1%eth0|5000|", "", ErrSyntax},
		{"H40: the address of another protocol", "|1|2001:db8::1|5000|", "", ErrSyntax},
		{"H40: the other way round", "|2|192.0.2.1|5000|", "", ErrSyntax},
		{"H40: mapped, but protocol 1", "|1|::ffff:192.0.2.1|5000|", "", ErrSyntax},
		{"H40: protocol 3", "|3|192.0.2.1|5000|", "", ErrProtocol},
		{"H40: protocol 0", "|0|192.0.2.1|5000|", "", ErrProtocol},
		{"H40: an unknown protocol's address is its own", "|25|00:11:22:33:44:55|5000|", "", ErrProtocol},
		{"H40: no protocol", "||192.0.2.1|5000|", "", ErrSyntax},
		{"H40: protocol IPv4", "|IPv4|192.0.2.1|5000|", "", ErrSyntax},
		{"H40: a blank for a delimiter", " 1 192.0.2.1 5000 ", "", ErrSyntax},
		{"H40: byte 127 for a delimiter", "\x7f1\x7f192.0.2.1\x7f5000\x7f", "", ErrSyntax},
		{"H40: a dot for a delimiter", ".1.192.0.2.1.5000.", "", ErrSyntax},
		{"no last delimiter", "|1|192.0.2.1|5000", "", ErrSyntax},
		{"something behind", "|1|192.0.2.1|5000|x", "", ErrSyntax},
		{"a host name", "|1|localhost|5000|", "", ErrSyntax},
		{"three numbers", "|1|192.0.2|5000|", "", ErrSyntax},
		{"leading zeros, which some read as octal", "|1|192.0.02.1|5000|", "", ErrSyntax},
		{"H5: port 0", "|1|192.0.2.1|0|", "", ErrSyntax},
		{"H5: port 65536", "|1|192.0.2.1|65536|", "", ErrSyntax},
		{"H5: negative port", "|1|192.0.2.1|-1|", "", ErrSyntax},
		{"H5: no port", "|1|192.0.2.1||", "", ErrSyntax},
		{"PORT's form", "192,0,2,1,19,136", "", ErrSyntax},
		{"empty", "", "", ErrSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseEPRT(tt.arg)
			if got != addr(tt.want) || !errors.Is(err, tt.err) {
				t.Errorf("ParseEPRT(%q) = %v, %v; want %v, %v", tt.arg, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestFormatEPRT(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1:5000":          "|1|192.0.2.1|5000|",
		"[2001:db8::1]:5000":      "|2|2001:db8::1|5000|",
		"[::ffff:192.0.2.1]:5000": "|1|192.0.2.1|5000|",
		"[fe80::1%eth0]:5000":     "|2|fe80::1|5000|",
		"":                        "|1|0.0.0.0|0|",
	} {
		if got := FormatEPRT(addr(a)); got != want {
			t.Errorf("FormatEPRT(%v) = %q; want %q", a, got, want)
		}
	}
}
