package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func lines(problems []Problem) string {
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n")
}

// What is sound and hardly meant is warned of, and what is meant is not.
func TestWarningsOfDoubtfulAddresses(t *testing.T) {
	for _, tt := range []struct{ name, listen, public, servers, want string }{
		{"loopback", ":21", `"127.0.0.1"`, "10.0.0.5",
			`config.toml:4: frontend.a.public_address: "127.0.0.1" is this machine itself, so clients on other machines get no data connection; write the address that clients reach, or "auto"`},
		{"loopback, and nobody else connects", "127.0.0.1:21", `"127.0.0.1"`, "10.0.0.5", ""},
		{"loopback of IPv6", "192.0.2.1:21", `["192.0.2.1", "::1"]`, "10.0.0.5",
			`config.toml:4: frontend.a.public_address: "::1" is this machine itself, so clients on other machines get no data connection; write the address that clients reach, or "auto"`},
		{"a word", ":21", `"eth0"`, "10.0.0.5",
			`config.toml:4: frontend.a.public_address: "eth0" is looked up as a host name, and has no domain; write the address that clients reach, its whole name, or "auto"`},
		{"a name", ":21", `"ftp.example.net"`, "10.0.0.5", ""},
		{"no brackets", ":21", `"auto"`, "2001:db8::5:21",
			`config.toml:6: backend.legacy.servers: "2001:db8::5:21" is an IPv6 address that ends like a port, so port 21 is used; write "[2001:db8::5]:21" for the port 21, or "[2001:db8::5:21]:21" for the address`},
		{"an IPv6 address", ":21", `"auto"`, "2001:db8::21", ""},
	} {
		c := mustParse(t, "[frontend.a]\nlisten = \""+tt.listen+"\"\nbackend = \"legacy\"\npublic_address = "+tt.public+
			"\n[backend.legacy]\nservers = \""+tt.servers+"\"\n")
		if got := lines(Warnings(c, Sysctl{})); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// A server at an address of this machine, where a frontend listens on all of them,
// is ftproxy itself.
func TestLoops(t *testing.T) {
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	c := mustParse(t, `[frontend.a]
listen = [":21", "192.0.2.7:2121"]
backend = "legacy"

[backend.legacy]
servers = ["192.0.2.1", "192.0.2.1:2121", "192.0.2.2", "[2001:db8::1]:21", "ftp.example.net"]
`)
	const what = ` is ftproxy itself: this machine has the address, and frontend.a.listen (line 2) listens on it; write the address of the FTP server, or another port`
	want := `config.toml:6: backend.legacy.servers: "192.0.2.1:21"` + what + "\n" + `config.toml:6: backend.legacy.servers: "[2001:db8::1]:21"` + what
	if got := lines(c.Loops(func(ip netip.Addr) bool { return slices.Contains(local, ip) }, nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := c.Loops(func(netip.Addr) bool { return false }, nil); !reflect.DeepEqual(got, Errors(nil)) {
		t.Errorf("without addresses: %v", got)
	}
}
