package config

import (
	"crypto/tls"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const example = "../config.toml.example"

// minimal holds only what has no default.
const minimal = `
[frontend.public]
listen = [":21"]
backend = "legacy"
[backend.legacy]
servers = ["10.0.0.5:21"]
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatalf("Parse:\n%v", err)
	}
	return c
}

// values returns c without where its keys stood.
func values(c *Config) Config {
	v := *c
	v.file, v.lines, v.renamed = "", nil, nil
	return v
}

func readExample(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var defaultLine = regexp.MustCompile(`(?m)^#([a-z_]+ = )`)

func TestMinimalHasTheDefaults(t *testing.T) {
	want := Defaults()
	f := NewFrontend("public")
	f.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:21"), netip.MustParseAddrPort("[::]:21")}
	f.Backend = "legacy"
	b := NewBackend("legacy")
	b.Servers = []Server{{Host: "10.0.0.5", Port: 21, Weight: 1}}
	want.Frontends, want.Backends = []Frontend{f}, []Backend{b}
	if got := values(mustParse(t, minimal)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The timeouts are a promise of the documentation, so they stand here again.
func TestDefaults(t *testing.T) {
	want := Config{
		Log: Log{Level: "info", Format: "json"},
		Timeouts: Timeouts{
			Connect: 5 * time.Second, Greeting: 30 * time.Second, Login: time.Minute, Idle: 10 * time.Minute,
			Reply: 5 * time.Minute, FinalReply: 10 * time.Minute, PortWait: 5 * time.Second,
			DataConnect: 30 * time.Second, DataStall: 5 * time.Minute, ClientWrite: time.Minute,
			ProxyHeader: 5 * time.Second, TLSHandshake: 10 * time.Second, Linger: 5 * time.Second, ShutdownDelay: 0, Drain: 10 * time.Minute,
		},
		Limits: Limits{Sessions: 2500},
	}
	if got := Defaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The file in the tree is what the rows say.
func TestExampleIsGenerated(t *testing.T) {
	got, want := strings.Split(readExample(t), "\n"), strings.Split(Example(), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s is not what the rows of config say, from line %d on: run \"go generate ./config\"", example, i+1)
		}
	}
	for i, line := range want {
		if len(line) > wrapAt && !strings.Contains(line, " = ") {
			t.Errorf("line %d is long: %s", i+1, line)
		}
	}
}

func TestExampleIsMinimal(t *testing.T) {
	if got, want := values(mustParse(t, readExample(t))), values(mustParse(t, minimal)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestExampleShowsTheDefaults(t *testing.T) {
	text := defaultLine.ReplaceAllString(readExample(t), "$1")
	// A server with a table of its own takes the place of the list.
	text = strings.Replace(text, "\nservers = [\"10.0.0.5:21\"]", "\nservers = []", 1)
	text = strings.Replace(text, "\n#[", "\n[", 1)
	text = strings.Replace(text, "\naddress = \"10.0.0.7:21\"", "\naddress = \"10.0.0.5:21\"", 1)
	c := mustParse(t, text)
	if s := c.Backends[0].Servers; len(s) != 1 || s[0].Label != "big" {
		t.Fatalf("the servers are %v", s)
	}
	c.Backends[0].Servers[0].Label = ""
	if got, want := values(c), values(mustParse(t, minimal)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for kind, keys := range schema {
		for _, key := range keys {
			path := strings.TrimPrefix(kind+"."+key, ".")
			path = strings.NewReplacer("frontend.NAME", "frontend.public", "backend.NAME", "backend.legacy", "server.LABEL", "server.big").Replace(path)
			if _, ok := c.lines[path]; !ok {
				t.Errorf("%s does not show %s", example, path)
			}
		}
	}
}

// Each key has a comment above it that ends by telling the default, and the
// default that it tells is the one on the line.
func TestExampleExplainsEveryKey(t *testing.T) {
	key := regexp.MustCompile(`^(#?)([a-z_]+) = (.*)$`)
	lines := strings.Split(readExample(t), "\n")
	keys := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "[") && (i == 0 || !strings.HasPrefix(lines[i-1], "# ")) {
			t.Errorf("line %d: %s has no comment above it", i+1, line)
		}
		m := key.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		keys++
		want := "# Default: " + m[3] + "."
		if m[1] == "" || m[2] == "address" { // whose table stands in place of servers
			want = "# No default."
		}
		if lines[i-1] != want {
			t.Errorf("line %d: above %s stands %q, want %q", i+1, m[2], lines[i-1], want)
		}
		if !strings.HasPrefix(lines[i-2], "# ") {
			t.Errorf("line %d: %s is not explained", i+1, m[2])
		}
	}
	want := 0
	for kind, names := range schema {
		if kind != "" {
			want += len(names)
		}
	}
	if keys != want {
		t.Errorf("%s shows %d keys, want %d", example, keys, want)
	}
}

// A key in the schema that is never read would be accepted and ignored; so
// each is given a value of a type that none has.
func TestEveryKeyIsRead(t *testing.T) {
	for kind, keys := range schema {
		if kind == "" {
			continue
		}
		for _, key := range keys {
			header := strings.ReplaceAll(kind, "NAME", "x")
			_, err := Parse("config.toml", []byte("["+header+"]\n"+key+" = 1979-05-27\n"))
			if want := "config.toml:2: " + header + "." + key + ": must be "; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("[%s] %s with a date: got\n%v\nwant %q", header, key, err, want)
			}
		}
	}
}

func TestEveryValue(t *testing.T) {
	got := values(mustParse(t, `
log = { level = "debug", format = "console" }
admin.listen = "[::1]:9121"
control.socket = "/run/ftproxy/control.sock"

[timeouts]
connect = "1s"
greeting = "2s"
login = "3s"
idle = "4s"
reply = "5s"
final_reply = "6s"
port_wait = "7s"
data_connect = "8s"
data_stall = "9s"
client_write = "10s"
proxy_header = "10.5s"
tls_handshake = "10.7s"
linger = "11s"
shutdown_delay = "0s"
drain = "1h30m"

[limits]
sessions = 7
sessions_per_client = 3
transfers = 2

[frontend.two]
listen = "192.0.2.1:2121"
proxy_protocol = true
data_proxy_protocol = false
trusted_proxies = ["10.0.0.2", "2001:db8::/32"]
backend = "b"
public_address = ["2001:db8::9", "203.0.113.9"]
public_address_for = { "10.0.0.0/8" = "auto", "10.1.0.0/16" = ["ftp.example.net", "2001:db8::8"], "192.0.2.7" = "192.0.2.9" }
passive_ports = "40000"
advertised_port_offset = -8000
passive_bind = ["0.0.0.0", "2001:db8::7"]
data_peer = ["/24", "/64"]
active_source_ports = ["20", "41000-41009"]
allow_foreign_data = ["203.0.113.0/24", "2001:db8::/32"]
bandwidth = "1.5Gbit/s"
session_bandwidth = "500kB/s"
banner = "Grüße"

[frontend.two.tls]
mode = "implicit"
certificate = ["/etc/tls/b.pem", "/etc/tls/a.pem"]
key = ["/etc/tls/b.key", "/etc/tls/a.key"]
client_ca = "/etc/tls/clients.pem"
client_certificate = "optional"
require_data = false
session_reuse = "require"
ciphers = "legacy"
strict_eof = true
min_version = "1.3"
max_version = "1.3"

[frontend.one]
listen = ["[2001:db8::1]:21"]
backend = "b"
public_address = "2001:db8::9"
passive_ports = "42000"

[backend.b]
servers = ["ftp.example.net", "ftp_2.example.net:2121", "2001:db8::5", "[2001:DB8:0::6]:2121", "10.0.0.5"]
data = "eprt"
data_ports = "50000-50001"
trust_data_address = "10.9.0.0/16"
source = "client"
source_other_family = "own"
send_proxy = "v2"
send_proxy_data = true
bandwidth = "80Mbit/s"

[backend.b.tls]
mode = "explicit"
data = "same-as-client"
ca = "/etc/tls/servers.pem"
server_name = "ftp.example.net"
certificate = "/etc/tls/me.pem"
key = "/etc/tls/me.key"
insecure_skip_verify = false
strict_eof = true
min_version = "1.0"
max_version = "1.1"
`))
	want := Config{
		Log:     Log{Level: "debug", Format: "console"},
		Admin:   Admin{Listen: netip.MustParseAddrPort("[::1]:9121")},
		Control: Control{Socket: "/run/ftproxy/control.sock"},
		Timeouts: Timeouts{
			Connect: 1 * time.Second, Greeting: 2 * time.Second, Login: 3 * time.Second, Idle: 4 * time.Second,
			Reply: 5 * time.Second, FinalReply: 6 * time.Second, PortWait: 7 * time.Second,
			DataConnect: 8 * time.Second, DataStall: 9 * time.Second, ClientWrite: 10 * time.Second,
			ProxyHeader: 10500 * time.Millisecond, TLSHandshake: 10700 * time.Millisecond, Linger: 11 * time.Second, ShutdownDelay: 0, Drain: 90 * time.Minute,
		},
		Limits: Limits{Sessions: 7, SessionsPerClient: 3, Transfers: 2},
		Frontends: []Frontend{{
			Name:          "one",
			Listen:        []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:21")},
			PublicAddress: PublicAddress{IPv6: netip.MustParseAddr("2001:db8::9")},
			PassivePorts:  PortRange{42000, 42000},
			TLS:           frontendTLSKeys.defaults(),
			Backend:       "b",
		}, {
			Name:          "two",
			Listen:        []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:2121")},
			ProxyProtocol: true, DataProxyProtocol: false,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("2001:db8::/32")},
			PublicAddress:  PublicAddress{IPv4: netip.MustParseAddr("203.0.113.9"), IPv6: netip.MustParseAddr("2001:db8::9")},
			PublicAddressFor: []PublicOverride{
				{netip.MustParsePrefix("192.0.2.7/32"), PublicAddress{IPv4: netip.MustParseAddr("192.0.2.9")}},
				{netip.MustParsePrefix("10.1.0.0/16"), PublicAddress{IPv6: netip.MustParseAddr("2001:db8::8"), Hosts: []string{"ftp.example.net"}}},
				{netip.MustParsePrefix("10.0.0.0/8"), PublicAddress{Auto: true}},
			},
			PassivePorts:         PortRange{40000, 40000},
			AdvertisedPortOffset: -8000,
			PassiveBind:          PassiveBind{netip.IPv4Unspecified(), netip.MustParseAddr("2001:db8::7")},
			DataPeer:             DataPeer{24, 64},
			ActiveSourcePorts:    []PortRange{{20, 20}, {41000, 41009}},
			AllowForeignData:     []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
			Bandwidth:            187_500_000,
			SessionBandwidth:     500_000,
			Backend:              "b",
			Banner:               "Grüße",
			TLS: FrontendTLS{
				Mode:         TLSImplicit,
				Certificates: []KeyPair{{"/etc/tls/b.pem", "/etc/tls/b.key"}, {"/etc/tls/a.pem", "/etc/tls/a.key"}},
				ClientCA:     "/etc/tls/clients.pem", ClientCertificate: "optional",
				RequireData: false, SessionReuse: ReuseRequire, StrictEOF: true, Ciphers: CiphersLegacy,
				MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13,
			},
		}},
		Backends: []Backend{{
			Name: "b",
			Servers: []Server{
				{Host: "ftp.example.net", Port: 21, Weight: 1}, {Host: "ftp_2.example.net", Port: 2121, Weight: 1}, {Host: "2001:db8::5", Port: 21, Weight: 1}, {Host: "2001:db8::6", Port: 2121, Weight: 1}, {Host: "10.0.0.5", Port: 21, Weight: 1},
			},
			Balance: BalanceFirst, Queue: 100,
			Check:  Check{Kind: CheckOff, Interval: 5 * time.Second, Timeout: 5 * time.Second, Rise: 2, Fall: 3},
			Data:   DataEPRT,
			Source: Source{Client: true, Own: true}, SendProxy: "v2", SendProxyData: true,
			DataPorts: PortRange{50000, 50001},

			Bandwidth:        10_000_000,
			TrustDataAddress: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
			TLS: BackendTLS{
				Mode: TLSExplicit, Data: DataSameAsClient,
				CA: "/etc/tls/servers.pem", ServerName: "ftp.example.net",
				Certificate: KeyPair{"/etc/tls/me.pem", "/etc/tls/me.key"},
				StrictEOF:   true,
				Ciphers:     CiphersDefault,
				MinVersion:  tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
			},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The kernel's limit is 107 bytes; a byte more than ours is in testdata/bad.
func TestLongestSocket(t *testing.T) {
	path := "/" + strings.Repeat("x", 99)
	if got := mustParse(t, "control.socket = '"+path+"'\n"+minimal).Control.Socket; got != path {
		t.Errorf("got %q", got)
	}
	if got := mustParse(t, "control.socket = ''\n"+minimal).Control.Socket; got != "" {
		t.Errorf("off: got %q", got)
	}
}

func TestServerString(t *testing.T) {
	for server, want := range map[Server]string{
		{Host: "10.0.0.5", Port: 21}:          "10.0.0.5:21",
		{Host: "2001:db8::5", Port: 2121}:     "[2001:db8::5]:2121",
		{Host: "ftp.example.net.", Port: 990}: "ftp.example.net.:990",
	} {
		if got := server.String(); got != want {
			t.Errorf("%#v.String() = %q, want %q", server, got, want)
		}
	}
}

func TestPortRange(t *testing.T) {
	r := PortRange{1, 65535}
	if r.Len() != 65535 || !r.Contains(1) || !r.Contains(65535) || r.Contains(0) {
		t.Errorf("%v: Len %d", r, r.Len())
	}
	r = PortRange{20, 30}
	for o, want := range map[PortRange]bool{{10, 19}: false, {10, 20}: true, {30, 40}: true, {31, 40}: false, {22, 23}: true, {1, 99}: true} {
		if r.Overlaps(o) != want || o.Overlaps(r) != want {
			t.Errorf("%v and %v overlap: want %v", r, o, want)
		}
	}
}

func TestMergePorts(t *testing.T) {
	got := MergePorts([]PortRange{{50, 60}, {20, 20}, {21, 21}, {55, 70}, {65535, 65535}, {65000, 65534}})
	if want := []PortRange{{20, 21}, {50, 70}, {65000, 65535}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParsePortRange(t *testing.T) {
	for text, want := range map[string]PortRange{"20": {20, 20}, "30000-30099": {30000, 30099}, "0": {}, "30099-30000": {}, "1-70000": {}, "": {}} {
		if got, err := ParsePortRange(text); got != want || (err == nil) != (want != PortRange{}) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte("\ufeff"+strings.ReplaceAll(minimal, "\n", "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatalf("a file from Windows: %v", err)
	}
	if got, want := values(c), values(mustParse(t, minimal)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
