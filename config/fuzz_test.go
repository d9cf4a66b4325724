package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse holds that any text gives either a configuration that keeps every
// promise of its types, or a report in which each problem has a line.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, example) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(minimal)
	f.Add(warned)
	f.Add(warnedTLS)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("config.toml", []byte(text))
		if err != nil {
			checkErrors(t, err, text)
			return
		}
		checkSound(t, c)
		checkRoundTrip(t, c)
		for _, w := range Warnings(c, Sysctl{Ephemeral: PortRange{1024, 65535}}) {
			if w.Line < 1 {
				t.Errorf("no line: %v", w)
			}
		}
	})
}

func checkSound(t *testing.T, c *Config) {
	t.Helper()
	backends := make(map[string]bool)
	for _, b := range c.Backends {
		backends[b.Name] = true
		if !isName(b.Name) || len(b.Servers) == 0 || b.DataPorts.First < 1024 || b.DataPorts.Last < b.DataPorts.First {
			t.Errorf("backend %+v", b)
		}
		checkBackendTLS(t, b.TLS)
		for _, s := range b.Servers {
			if again, w := parseServer(s.String()); w != nil || again != s {
				t.Errorf("server %v is read back as %v, %v", s, again, w)
			}
		}
	}
	for _, f := range c.Frontends {
		if !isName(f.Name) || len(f.Listen) == 0 || !backends[f.Backend] || f.PassivePorts.First < 1 || f.PassivePorts.Last < f.PassivePorts.First {
			t.Errorf("frontend %+v", f)
		}
		if f.Proxied() != (len(f.TrustedProxies) > 0) {
			t.Errorf("trusted proxies %+v", f)
		}
		checkFrontendTLS(t, f.TLS)
		p := f.PublicAddress
		if p.Auto == (p.IPv4.IsValid() || p.IPv6.IsValid()) || p.IPv4.IsValid() && !p.IPv4.Is4() || p.IPv6.IsValid() && !p.IPv6.Is6() {
			t.Errorf("public address %+v", p)
		}
		if _, w := parseBanner(f.Banner); w != nil {
			t.Errorf("banner %q", f.Banner)
		}
		for _, b := range c.Backends {
			if f.PassivePorts.Overlaps(b.DataPorts) {
				t.Errorf("%s and %s overlap", f.Name, b.Name)
			}
		}
	}
	if len(c.Frontends) == 0 || len(c.Backends) == 0 {
		t.Error("no frontend or no backend")
	}
	if a := c.Admin.Listen; a.IsValid() && !a.Addr().IsLoopback() {
		t.Errorf("admin listens on %v", a)
	}
	if s := c.Control.Socket; s != "" && (s[0] != '/' || s != filepath.Clean(s) || len(s) > 100 || strings.ContainsAny(s, "\x00\n")) {
		t.Errorf("control socket %q", s)
	}
	if c.Timeouts.Idle <= 0 || c.Timeouts.ShutdownDelay < 0 || c.Limits.Sessions < 1 || c.Limits.SessionsPerClient < 0 || c.Limits.Transfers < 0 {
		t.Errorf("%+v %+v", c.Timeouts, c.Limits)
	}
}
