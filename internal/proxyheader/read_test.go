package proxyheader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

var (
	client4 = netip.MustParseAddrPort("198.51.100.7:40000")
	local4  = netip.MustParseAddrPort("203.0.113.9:21")
	client6 = netip.MustParseAddrPort("[2001:db8::7]:40000")
	local6  = netip.MustParseAddrPort("[2001:db8::9]:21")
)

// v2 is a header of version 2, of which start is its version and command and its
// family, and rest what stands behind its length.
func v2(start, rest string) string {
	return "\r\n\r\n\x00\r\nQUIT\n" + start + string(binary.BigEndian.AppendUint16(nil, uint16(len(rest)))) + rest
}

// addresses are those of a version 2 header.
func addresses(client, local netip.AddrPort) string {
	b := append(client.Addr().AsSlice(), local.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return string(binary.BigEndian.AppendUint16(b, local.Port()))
}

// tlv is one field of a version 2 header.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

const line = "PROXY TCP4 198.51.100.7 203.0.113.9 40000 21\r\n"

var goodHeaders = []struct {
	name, text string
	want       Header
}{
	{"v1", line, Header{Source: client4, Destination: local4}},
	{"v1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::9 40000 21\r\n", Header{Source: client6, Destination: local6}},
	{"v1 nginx, IPv4 on an IPv6 listener", "PROXY TCP6 ::ffff:198.51.100.7 ::ffff:203.0.113.9 40000 21\r\n", Header{Source: client4, Destination: local4}},
	{"v1 nginx, IPv6 client reached by IPv4", "PROXY TCP6 2001:db8::7 203.0.113.9 40000 21\r\n", Header{Source: client6, Destination: local4}},
	{"v1 nginx, IPv4 client reached by IPv6", "PROXY TCP4 198.51.100.7 2001:db8::9 40000 21\r\n", Header{Source: client4, Destination: local6}},
	{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", Header{Own: true}},
	{"v2", v2("\x21\x11", addresses(client4, local4)), Header{Source: client4, Destination: local4}},
	{"v2 IPv6", v2("\x21\x21", addresses(client6, local6)), Header{Source: client6, Destination: local6}},
	{"v2 IPv4 as IPv6", v2("\x21\x21", addresses(
		netip.AddrPortFrom(netip.AddrFrom16(client4.Addr().As16()), 40000), netip.AddrPortFrom(netip.AddrFrom16(local4.Addr().As16()), 21))),
		Header{Source: client4, Destination: local4}},
	{"v2 LOCAL", v2("\x20\x00", ""), Header{Own: true}},
	{"v2 TLVs", v2("\x21\x11", addresses(client4, local4)+tlv(0x02, "ftp.example.net")+tlv(0x05, "id")+
		tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3"))),
		Header{Source: client4, Destination: local4, Authority: "ftp.example.net", UniqueID: "id", TLS: "TLSv1.3"}},
	{"v2 TLVs that are none", v2("\x21\x11", addresses(client4, local4)+"\x02\xff"), Header{Source: client4, Destination: local4}},
	{"v2 4 KB of TLVs", v2("\x21\x11", addresses(client4, local4)+tlv(0xe0, strings.Repeat("x", 4000))), Header{Source: client4, Destination: local4}},
}

// A header is read to its exact end, in however many pieces it comes.
func TestRead(t *testing.T) {
	const rest = "PROXY is what the data begins with\r\n"
	for _, tt := range goodHeaders {
		for _, pieces := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
		} {
			text := strings.NewReader(tt.text + rest)
			got, err := Read(pieces(text))
			if err != nil || got != tt.want {
				t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
			}
		}
		text := strings.NewReader(tt.text + rest)
		if _, err := Read(text); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if left, _ := io.ReadAll(text); string(left) != rest {
			t.Errorf("%s: %q is left, want %q", tt.name, left, rest)
		}
	}
}

func TestReadErrors(t *testing.T) {
	whole := v2("\x21\x11", addresses(client4, local4))
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"nothing", "", ErrMissing},
		{"one byte", "P", ErrMissing},
		{"FTP", "USER anonymous\r\n", ErrMissing},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xxxx", ErrMissing},
		{"PROXY without a space", "PROXYTCP4 1\r\n", ErrInvalid},
		{"v1 without a port", "PROXY TCP4 198.51.100.7 203.0.113.9 40000\r\n", ErrInvalid},
		{"v1 with a number more", strings.Replace(line, "\r\n", " 7\r\n", 1), ErrInvalid},
		{"v1 endless", "PROXY TCP4 " + strings.Repeat("1", 1000), ErrInvalid},
		{"v1 IPv4 client in TCP6", "PROXY TCP6 198.51.100.7 203.0.113.9 40000 21\r\n", ErrInvalid},
		{"v1 IPv6 client in TCP4", "PROXY TCP4 2001:db8::7 203.0.113.9 40000 21\r\n", ErrInvalid},
		{"v1 no address in TCP6", "PROXY TCP6 2001:db8::7 203.0.113 40000 21\r\n", ErrInvalid},
		{"v1 cut", line[:len(line)-2], ErrInvalid},
		{"v1 two lines", "PROXY TCP\r\n" + line, ErrInvalid},
		{"v2 cut in its signature", whole[:11], ErrMissing},
		{"v2 cut in its length", whole[:15], ErrInvalid},
		{"v2 cut in its addresses", whole[:len(whole)-1], ErrInvalid},
		{"v2 without addresses", v2("\x21\x11", ""), ErrInvalid},
		{"v2 too short for its family", v2("\x21\x11", strings.Repeat("x", 11)), ErrInvalid},
		{"v2 IPv6 with the length of IPv4", strings.Replace(whole, "\x21\x11", "\x21\x21", 1), ErrInvalid},
		{"v2 of version 3", strings.Replace(whole, "\x21\x11", "\x31\x11", 1), ErrInvalid},
		{"v2 UDP", strings.Replace(whole, "\x21\x11", "\x21\x12", 1), ErrInvalid},
		{"v2 too long", v2("\x21\x11", addresses(client4, local4)+tlv(0xe0, strings.Repeat("x", 10<<10))), ErrInvalid},
	} {
		if h, err := Read(strings.NewReader(tt.text)); !errors.Is(err, tt.want) || h != (Header{}) {
			t.Errorf("%s: %+v, %v; want %v", tt.name, h, err, tt.want)
		}
	}
}

// The error of the connection is told, too: a timeout is not a bad header.
func TestReadTellsWhy(t *testing.T) {
	cause := errors.New("timeout")
	for _, part := range []string{"", "PROXY TCP4 198.51", v2("\x21\x11", "")[:14]} {
		_, err := Read(io.MultiReader(strings.NewReader(part), iotest.ErrReader(cause)))
		if !errors.Is(err, cause) {
			t.Errorf("after %q: %v", part, err)
		}
	}
}

// What is read ends where the header ends, and what is accepted is the same once it is
// written and read again.
func FuzzRead(f *testing.F) {
	for _, tt := range goodHeaders {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte("PROXY A\r\nUSER x\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = append(bytes.Clone(text), "rest"...)
		left := bytes.NewReader(text)
		h, err := Read(left)
		if err != nil {
			if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrInvalid) {
				t.Errorf("%v", err)
			}
			return
		}
		used := text[:len(text)-left.Len()]
		if again, err := Read(bytes.NewReader(used)); err != nil || again != h {
			t.Errorf("of the bytes that were used, %q: %+v, %v; want %+v", used, again, err, h)
		}
		for n := range used {
			if _, err := Read(bytes.NewReader(used[:n])); err == nil {
				t.Fatalf("%q is a header, and so is %q", used, used[:n])
			}
		}
		h.TLS = "" // not written
		written, err := h.Format(2)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Read(bytes.NewReader(written)); err != nil || again != h {
			t.Errorf("written and read again: %+v, %v; want %+v", again, err, h)
		}
	})
}
