package rewrite

import (
	"net/netip"
	"testing"
)

func TestMaskInside(t *testing.T) {
	inside := []netip.Addr{netip.MustParseAddr("198.51.100.5"), netip.MustParseAddr("2001:db8::5")}
	known := func(a netip.Addr) bool { return a == netip.MustParseAddr("192.168.0.9") }
	for _, tt := range []struct{ text, want string }{
		{"421 Too many from 10.0.0.2.", "421 Too many from ***."},
		{"421 Too many from 10,0,0,2", "421 Too many from ***"},
		{"421 Too many from 198.51.100.5: 3", "421 Too many from ***: 3"},
		{"421 Too many from 2001:db8::5.", "421 Too many from ***."},
		{"421 Too many from ::ffff:10.0.0.2", "421 Too many from ***"},
		{"421 Too many from 203.0.113.7", "421 Too many from 203.0.113.7"},
		{"421 Too many from 192.168.0.9", "421 Too many from 192.168.0.9"},
		{"421 FTP.internal is full", "421 *** is full"},
		{"421 At 12:30:00 and 1.2.3", "421 At 12:30:00 and 1.2.3"},
	} {
		if got := MaskInside(tt.text, "ftp.internal", inside, known); got != tt.want {
			t.Errorf("MaskInside(%q) = %q; want %q", tt.text, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		text, addr string
		want       bool
	}{
		{"150 Data connection from 10.0.0.5:20", "10.0.0.5", true},
		{"150 Data connection from (10,0,0,5,0,20)", "10.0.0.5", true},
		{"150 Data connection from fe80::1", "fe80::1%eth0", true},
		{"150 Opening.", "10.0.0.5", false},
	} {
		if got := Names([]byte(tt.text), netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("Names(%q, %s) = %v", tt.text, tt.addr, got)
		}
	}
}
