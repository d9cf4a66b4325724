package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestDescriptors(t *testing.T) {
	const rest = 64
	frontend := func(name, keys string) string {
		return "[frontend." + name + "]\nbackend = 'b'\n" + strings.ReplaceAll(keys, "; ", "\n") + "\n"
	}
	one := frontend("one", "listen = '192.0.2.1:21'")
	const backend = "[backend.b]\nservers = '10.0.0.5'\n"
	for _, tt := range []struct {
		name, text string
		want       int
	}{
		{"defaults", one + backend, 6*2500 + 100 + 100 + 1 + rest},
		{"all addresses", frontend("one", "listen = ':21'") + backend, 6*2500 + 2*100 + 100 + 2 + rest},
		{"one session", "limits.sessions = 1\n" + one + backend, 6 + 1 + 1 + rest},
		{"fewer transfers", "[limits]\nsessions = 1000\ntransfers = 10\n" + one + backend, 2*1000 + 4*10 + 10 + 1 + rest},
		{"more transfers than sessions", "[limits]\nsessions = 10\ntransfers = 1000\n" + one + backend, 6*10 + 10 + 1 + rest},
		{"two ports of an address", frontend("one", "listen = ['192.0.2.1:21', '192.0.2.1:2121']") + backend, 6*2500 + 100 + 100 + 2 + rest},
		{"two addresses", frontend("one", "listen = ['192.0.2.1:21', '192.0.2.2:21']") + backend, 6*2500 + 2*100 + 100 + 2 + rest},
		{"two addresses, one to bind", frontend("one", "listen = ['192.0.2.1:21', '192.0.2.2:21']; passive_bind = '0.0.0.0'") + backend, 6*2500 + 100 + 100 + 2 + rest},
		{"both families, one to bind", frontend("one", "listen = ['192.0.2.1:21', '[2001:db8::1]:21', '[2001:db8::2]:21']; passive_bind = '2001:db8::3'") + backend,
			6*2500 + 2*100 + 100 + 3 + rest},
		{"both to bind, one family", frontend("one", "listen = '192.0.2.1:21'; passive_bind = ['192.0.2.9', '2001:db8::3']") + backend, 6*2500 + 100 + 100 + 1 + rest},
		{"behind proxies", frontend("one", "listen = ['192.0.2.1:21', '192.0.2.2:21', '[2001:db8::1]:21']; proxy_protocol = true; trusted_proxies = '10.0.0.2'") + backend,
			6*2500 + 2*100 + 100 + 3 + rest},
		{"a shared range", one + frontend("two", "listen = '192.0.2.1:2121'") + backend, 6*2500 + 100 + 100 + 2 + rest},
		{"a shared range on two addresses", one + frontend("two", "listen = '192.0.2.2:21'") + backend, 6*2500 + 2*100 + 100 + 2 + rest},
		{"two ranges", one + frontend("two", "listen = '192.0.2.1:2121'; passive_ports = '40000-40009'") + backend, 6*2500 + 100 + 10 + 100 + 2 + rest},
		{"backends that share", one + backend + "[backend.c]\nservers = '10.0.0.6'\n", 6*2500 + 100 + 100 + 1 + rest},
		{"backends that do not", one + backend + "[backend.c]\nservers = '10.0.0.6'\ndata_ports = '40000'\n", 6*2500 + 100 + 100 + 1 + 1 + rest},
		{"servers that never connect", one + backend + "data = 'passive'\n", 6*2500 + 100 + 1 + rest},
		{"admin and control", "admin.listen = '127.0.0.1:9121'\ncontrol.socket = '/run/c'\n" + one + backend, 6*2500 + 100 + 100 + 1 + 65 + 1 + rest},
	} {
		// The least of which as much is left when what is kept is taken away.
		got := mustParse(t, tt.text).Descriptors()
		if got-KeptDescriptors(got) < tt.want || got-1-KeptDescriptors(got-1) >= tt.want {
			t.Errorf("%s: %d, %d of it kept, want %d", tt.name, got, KeptDescriptors(got), tt.want)
		}
	}
}

// The default promises this in config.toml.example.
func TestDefaultsFitIntoAContainer(t *testing.T) {
	if n := mustParse(t, minimal).Descriptors(); n > 20000 {
		t.Errorf("the defaults need %d descriptors", n)
	}
	c := mustParse(t, fmt.Sprintf("limits.sessions = %d\n", maxWhole)+minimal)
	if n := c.Descriptors(); n < maxWhole {
		t.Errorf("%d descriptors for as many sessions as may be written", n)
	}
}
