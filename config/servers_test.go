package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// Tables of servers stand in the order of the file, which is not that of their names.
func TestServerTables(t *testing.T) {
	c := mustParse(t, `
[frontend.public]
listen = ":21"
backend = "b"
close_when_down = true
[backend.b.server.small]
address = "srv:_ftp._tcp.example.net"
backup = true
[backend.b.server.big]
address = "2001:db8::5"
weight = 256
max_sessions = 200
[backend.b]
balance = "leastconn"
slow_start = "30s"
[backend.b.check]
kind = "login"
user = "check"
password_file = "/etc/ftproxy/check.password"
agent_port = 9999
`)
	b := c.Backends[0]
	want := []Server{
		{Label: "small", Host: "_ftp._tcp.example.net", SRV: true, Weight: 1, Backup: true},
		{Label: "big", Host: "2001:db8::5", Port: 21, Weight: 256, MaxSessions: 200},
	}
	if !reflect.DeepEqual(b.Servers, want) {
		t.Errorf("got  %+v\nwant %+v", b.Servers, want)
	}
	if b.Balance != BalanceLeastConn || b.SlowStart != 30*time.Second || !c.Frontends[0].CloseWhenDown {
		t.Errorf("%+v", b)
	}
	check := Check{Kind: CheckLogin, Interval: 5 * time.Second, Timeout: 5 * time.Second, Rise: 2, Fall: 3, User: "check", PasswordFile: "/etc/ftproxy/check.password", AgentPort: 9999}
	if b.Check != check {
		t.Errorf("got  %+v\nwant %+v", b.Check, check)
	}
	checkRoundTrip(t, c)
}

func TestServerTexts(t *testing.T) {
	for text, want := range map[string]Server{
		"10.0.0.5":                   {Host: "10.0.0.5", Port: 21, Weight: 1},
		"[2001:DB8::5]:2121":         {Host: "2001:db8::5", Port: 2121, Weight: 1},
		"srv:_ftp._tcp.example.net":  {Host: "_ftp._tcp.example.net", SRV: true, Weight: 1},
		"srv:_ftp._tcp.example.net.": {Host: "_ftp._tcp.example.net.", SRV: true, Weight: 1},
		"srv:21":                     {Host: "srv", Port: 21, Weight: 1}, // as it was before SRV records were known
	} {
		got, w := parseServer(text)
		if w != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, w, want)
			continue
		}
		if again, w := parseServer(got.String()); w != nil || again != got || got.Name() != got.String() {
			t.Errorf("%s: %s becomes %+v, %v", text, got, again, w)
		}
	}
	if got := (Server{Label: "big", Host: "10.0.0.5", Port: 21}).Name(); got != "big" {
		t.Errorf("the name is %q", got)
	}
}

// Keys of servers that have no effect are doubted, under the key that stands in the file.
func TestDoubtsAboutBalance(t *testing.T) {
	const head = "[frontend.a]\nlisten = ':21'\nbackend = 'b'\n"
	for text, want := range map[string]string{
		"[backend.b]\nservers = '10.0.0.5'\nqueue = 5\n":                                                    "backend.b.queue: has no effect, because no server has max_sessions",
		"[backend.b]\nserver.x = {address = '10.0.0.5', backup = true}\n":                                   "backend.b.server.x.backup: is true for every server",
		"[backend.b]\nserver.x = {address = '2001:db8::5:21'}\n":                                            "backend.b.server.x.address: \"2001:db8::5:21\" is an IPv6 address that ends like a port",
		"[backend.b]\nqueue = 5\nserver.x = {address = '10.0.0.5', max_sessions = 1}\nserver.y.address='h'": "",
	} {
		var all []string
		for _, p := range Warnings(mustParse(t, head+text), Sysctl{}) {
			all = append(all, p.Key+": "+p.Message)
		}
		got := strings.Join(all, "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", text, got, want)
		}
	}
}
