package config

import (
	"crypto/tls"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// withTLS is a configuration with these keys in its tables of TLS.
func withTLS(frontend, backend string) string {
	return minimal + "[frontend.public.tls]\n" + frontend + "\n[backend.legacy.tls]\n" + backend + "\n"
}

// What is not written depends on what is.
func TestFrontendTLSDefaults(t *testing.T) {
	one := []KeyPair{{"/etc/a.pem", "/etc/a.pem"}}
	for _, tt := range []struct {
		keys string
		want FrontendTLS
	}{
		{"", FrontendTLS{Mode: TLSOff}},
		{"mode = 'off'", FrontendTLS{Mode: TLSOff}},
		{"mode = 'optional'\ncertificate = '/etc/a.pem'", FrontendTLS{Mode: TLSOptional, Certificates: one}},
		{"mode = 'optional'\ncertificate = '/etc/a.pem'\nrequire_data = true", FrontendTLS{Mode: TLSOptional, Certificates: one, RequireData: true}},
		{"mode = 'required'\ncertificate = ['/etc/a.pem']", FrontendTLS{Mode: TLSRequired, Certificates: one, RequireData: true}},
		{"mode = 'implicit'\ncertificate = '/etc/a.pem'\nkey = []", FrontendTLS{Mode: TLSImplicit, Certificates: one, RequireData: true}},
		{"mode = 'required'\ncertificate = '/etc/a.pem'\nclient_ca = '/etc/ca.pem'",
			FrontendTLS{Mode: TLSRequired, Certificates: one, RequireData: true, ClientCA: "/etc/ca.pem", ClientCertificate: "required"}},
		{"mode = 'required'\ncertificate = '/etc/a.pem'\nkey = '/etc/a.key'\nrequire_data = false",
			FrontendTLS{Mode: TLSRequired, Certificates: []KeyPair{{"/etc/a.pem", "/etc/a.key"}}}},
	} {
		tt.want.MinVersion, tt.want.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
		tt.want.SessionReuse, tt.want.Ciphers = ReuseOff, CiphersDefault
		c := mustParse(t, withTLS(tt.keys, ""))
		if got := c.Frontends[0].TLS; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.keys, got, tt.want)
		}
		checkRoundTrip(t, c)
	}
}

func TestBackendTLSDefaults(t *testing.T) {
	for _, tt := range []struct {
		keys string
		want BackendTLS
	}{
		{"", BackendTLS{Mode: TLSOff}},
		{"mode = 'implicit'", BackendTLS{Mode: TLSImplicit}},
		{"mode = 'explicit'\ncertificate = '/etc/a.pem'", BackendTLS{Mode: TLSExplicit, Certificate: KeyPair{"/etc/a.pem", "/etc/a.pem"}}},
	} {
		tt.want.Data, tt.want.MinVersion, tt.want.MaxVersion = DataPrivate, tls.VersionTLS12, tls.VersionTLS13
		tt.want.Ciphers = CiphersDefault
		c := mustParse(t, withTLS("", tt.keys))
		if got := c.Backends[0].TLS; got != tt.want {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.keys, got, tt.want)
		}
		checkRoundTrip(t, c)
	}
}

func TestTLSModeOn(t *testing.T) {
	for mode, want := range map[TLSMode]bool{"": false, TLSOff: false, TLSOptional: true, TLSRequired: true, TLSExplicit: true, TLSImplicit: true} {
		if got := mode.On(); got != want {
			t.Errorf("%q: %v", mode, got)
		}
	}
}

// A private key that was written in place of its path must not get into a log.
func TestKeyIsNotRepeated(t *testing.T) {
	for _, key := range []string{`"-----BEGIN PRIVATE KEY-----MC4CAQAwBQYDK2Vw-----END PRIVATE KEY-----"`, `"""
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2Vw
-----END PRIVATE KEY-----
"""`} {
		_, err := Parse("config.toml", []byte(withTLS("mode = 'required'\ncertificate = '/etc/a.pem'\nkey = "+key, "mode = 'explicit'\ncertificate = '/etc/a.pem'\nkey = "+key)))
		if err == nil || strings.Count(err.Error(), "is the text of a PEM file, not its path") != 2 || strings.Contains(err.Error(), "MC4C") {
			t.Errorf("got\n%v", err)
		}
	}
}

// TestWeakCiphers: old cipher suites are warned of, on each side.
func TestWeakCiphers(t *testing.T) {
	const on = "certificate = '/etc/a.pem'\nciphers = 'legacy'\nmode = "
	got := make([]string, 0, 2)
	for _, p := range Warnings(mustParse(t, withTLS(on+"'required'", on+"'explicit'")), Sysctl{}) {
		got = append(got, p.Key)
	}
	if want := []string{"frontend.public.tls.ciphers", "backend.legacy.tls.ciphers"}; !slices.Equal(got, want) {
		t.Errorf("warnings of %q, want %q", got, want)
	}
}

// TestFingerprint: one is kept in one form, however it was written.
func TestFingerprint(t *testing.T) {
	want := "sha256:" + strings.Repeat("0f", 32)
	for _, written := range []string{want, "SHA256:" + strings.Repeat("0F", 32), "sha256:" + strings.Repeat("0F:", 31) + "0F"} {
		c := mustParse(t, withTLS("", "mode = 'explicit'\nfingerprint = '"+written+"'"))
		if got := c.Backends[0].TLS.Fingerprint; got != want {
			t.Errorf("%q is read as %q", written, got)
		}
		checkRoundTrip(t, c)
	}
}

// TestSessionReuse: session_reuse has the values of require_session_reuse, its old name,
// too. One of the names is enough.
func TestSessionReuse(t *testing.T) {
	const on = "mode = 'required'\ncertificate = '/etc/a.pem'\n"
	for _, tt := range []struct {
		keys    string
		want    SessionReuse
		renamed bool
	}{
		{"", ReuseOff, false},
		{"session_reuse = 'off'", ReuseOff, false},
		{"session_reuse = 'offer'", ReuseOffer, false},
		{"session_reuse = 'require'", ReuseRequire, false},
		{"session_reuse = true", ReuseRequire, false},
		{"require_session_reuse = true", ReuseRequire, true},
		{"require_session_reuse = false", ReuseOff, true},
	} {
		c := mustParse(t, withTLS(on+tt.keys, ""))
		if got := c.Frontends[0].TLS.SessionReuse; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.keys, got, tt.want)
		}
		if got := len(Warnings(c, Sysctl{})) == 1; got != tt.renamed {
			t.Errorf("%s: warns of the old name: %t", tt.keys, got)
		}
	}
}

const warnedTLS = `[frontend.implicit]
listen = ["[2001:db8::1]:990", ":21"]
backend = "old"
[frontend.implicit.tls]
mode = "implicit"
certificate = "/etc/a.pem"

[frontend.sound]
listen = "192.0.2.1:2121"
backend = "new"
[frontend.sound.tls]
mode = "implicit"
certificate = "/etc/a.pem"
session_reuse = "require"

[backend.old]
servers = ["10.0.0.5:990", "2001:db8::5"]
[backend.old.tls]
mode = "implicit"
insecure_skip_verify = true
min_version = "1.1"

[backend.new]
servers = ["10.0.0.6:990", "10.0.0.7:2121"]
[backend.new.tls]
mode = "implicit"

[backend.explicit]
servers = "10.0.0.8"
[backend.explicit.tls]
mode = "explicit"
max_version = "1.2"
[frontend.explicit]
listen = "192.0.2.2:2121"
backend = "explicit"
[frontend.explicit.tls]
mode = "required"
certificate = "/etc/a.pem"

[frontend.swapped]
listen = "192.0.2.3:990"
backend = "swapped"
[frontend.swapped.tls]
mode = "optional"
certificate = "/etc/a.pem"
session_reuse = "require"
[backend.swapped]
servers = "10.0.0.9:990"
[backend.swapped.tls]
mode = "explicit"
`

func TestWarningsOfTLS(t *testing.T) {
	want := []string{
		`config.toml:2: frontend.implicit.listen: "0.0.0.0:21" has port 21, where clients expect AUTH TLS; implicit TLS is on port 990; write port 990, or mode = "required" in [frontend.implicit.tls]`,
		`config.toml:17: backend.old.servers: "[2001:db8::5]:21" has port 21, where servers expect AUTH TLS; implicit TLS is on port 990; write "[2001:db8::5]:990", or mode = "explicit" in [backend.old.tls]`,
		`config.toml:20: backend.old.tls.insecure_skip_verify: whoever is between ftproxy and the servers can take their place, and read passwords; write ca = "/etc/ftproxy/ca.pem" with the certificate of their CA, or their own, instead`,
		`config.toml:21: backend.old.tls.min_version: TLS 1.1 is deprecated (RFC 8996), because much of it is broken; write "1.2" as soon as all of the servers know it`,
		`config.toml:41: frontend.swapped.listen: "192.0.2.3:990" has port 990, where clients expect implicit TLS; write mode = "implicit" in [frontend.swapped.tls], or port 21`,
		`config.toml:46: frontend.swapped.tls.session_reuse: holds for data connections with TLS only, and clients may have others, which prove nothing; write require_data = true, too`,
		`config.toml:48: backend.swapped.servers: "10.0.0.9:990" has port 990, where servers expect implicit TLS, and greet nobody before; write mode = "implicit" in [backend.swapped.tls], or port 21`,
	}
	var got []string
	for _, p := range Warnings(mustParse(t, warnedTLS), Sysctl{}) {
		got = append(got, p.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Values that were built in code need not say more than the mode.
func TestWarningsOfTLSBuiltInCode(t *testing.T) {
	c := mustParse(t, minimal)
	c.Backends[0].TLS = BackendTLS{Mode: TLSExplicit}
	c.Frontends[0].TLS = FrontendTLS{}
	if got := Warnings(c, Sysctl{}); len(got) > 0 {
		t.Errorf("%v", got)
	}
	want := []Change{{"backend.legacy.tls.mode", `"off"`, `"explicit"`}}
	if got := Changes(mustParse(t, minimal), c); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	c.Backends[0].TLS = BackendTLS{}
	if got := Changes(mustParse(t, minimal), c); len(got) > 0 {
		t.Errorf("off: %v", got)
	}
}

// A fault that shows only when the configuration is put to use has its place, too:
// where the key stands, or else the nearest table around it.
func TestProblem(t *testing.T) {
	c := mustParse(t, withTLS("mode = 'required'\ncertificate = '/etc/a.pem'", ""))
	for key, want := range map[string]string{
		"frontend.public.tls.certificate": "config.toml:9: frontend.public.tls.certificate: no such file; write it",
		"frontend.public.tls.key":         "config.toml:7: frontend.public.tls.key: no such file; write it",
		"frontend.other.tls.key":          "config.toml:2: frontend.other.tls.key: no such file; write it",
		"admin.listen":                    "config.toml: admin.listen: no such file; write it",
	} {
		if got := c.Problem(key, "no such file", "write it").Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func checkFrontendTLS(t *testing.T, f FrontendTLS) {
	t.Helper()
	paths := []string{f.ClientCA}
	for _, p := range f.Certificates {
		paths = append(paths, p.Certificate, p.Key)
	}
	if f.Mode.On() != (len(f.Certificates) > 0) || (f.ClientCA == "") != (f.ClientCertificate == "") ||
		f.MinVersion < tls.VersionTLS12 || f.MaxVersion > tls.VersionTLS13 || f.MinVersion > f.MaxVersion {
		t.Errorf("TLS towards clients %+v", f)
	}
	if !f.Mode.On() && !reflect.DeepEqual(f, frontendTLSKeys.defaults()) {
		t.Errorf("no TLS towards clients %+v", f)
	}
	checkPaths(t, paths)
	if slices.Contains(paths[1:], "") {
		t.Errorf("certificates %+v", f.Certificates)
	}
}

func checkBackendTLS(t *testing.T, b BackendTLS) {
	t.Helper()
	if (b.Certificate.Certificate == "") != (b.Certificate.Key == "") || b.InsecureSkipVerify && (b.CA != "" || b.ServerName != "") ||
		b.ServerName != "" && !isHostName(b.ServerName) ||
		b.MinVersion < tls.VersionTLS10 || b.MaxVersion > tls.VersionTLS13 || b.MinVersion > b.MaxVersion {
		t.Errorf("TLS towards servers %+v", b)
	}
	if !b.Mode.On() && b != backendTLSKeys.defaults() {
		t.Errorf("no TLS towards servers %+v", b)
	}
	checkPaths(t, []string{b.CA, b.Certificate.Certificate, b.Certificate.Key})
}

func checkPaths(t *testing.T, paths []string) {
	t.Helper()
	for _, p := range paths {
		if p != "" && (p[0] != '/' || p != filepath.Clean(p) || strings.ContainsAny(p, "\x00\n")) {
			t.Errorf("path %q", p)
		}
	}
}
