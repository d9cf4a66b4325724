package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// frontendTLS reads [frontend.NAME.tls].
func (t table) frontendTLS() FrontendTLS {
	f := newFrontendTLS()
	if len(t.entry.table) == 0 {
		return f // as most are
	}
	known := t.tlsMode(&f.Mode, "required", map[string]string{
		"explicit": `write "required" where every client must send AUTH TLS, or "optional"`,
	}, TLSOff, TLSOptional, TLSRequired, TLSImplicit)
	f.Certificates = t.certificates()
	f.ClientCA = t.pem("client_ca")
	t.choice("client_certificate", &f.ClientCertificate, "", certificateRequired, certificateOptional)
	f.RequireData = f.Mode == TLSRequired || f.Mode == TLSImplicit
	t.boolean("require_data", &f.RequireData)
	t.boolean("require_session_reuse", &f.RequireSessionReuse)
	t.boolean("strict_eof", &f.StrictEOF)
	t.versions(&f.MinVersion, &f.MaxVersion, tls.VersionTLS12)

	switch {
	case !known:
	case !f.Mode.On():
		without := newFrontendTLS()
		t.withoutTLS(f.settings(), without.settings(), "required")
	case t.count("certificate") == 0:
		t.faultAt(t.line("mode"), "certificate", wrongf(`write certificate = "/etc/ftproxy/ftp.example.net.pem" with the path of yours`,
			"is missing, and mode = %q needs it", f.Mode))
	}
	switch {
	case t.given("client_ca"):
		f.ClientCertificate = cmp.Or(f.ClientCertificate, certificateRequired)
	case f.ClientCertificate != "" && f.Mode.On():
		t.faultAt(t.line("client_certificate"), "client_certificate",
			wrongf(`write client_ca = "/etc/ftproxy/client_ca.pem", too, or remove this key`, "has no effect without client_ca"))
	}
	return f
}

// backendTLS reads [backend.NAME.tls].
func (t table) backendTLS() BackendTLS {
	b := newBackendTLS()
	if len(t.entry.table) == 0 {
		return b
	}
	known := t.tlsMode(&b.Mode, "explicit", map[string]string{
		"required": `write "explicit" for AUTH TLS, without which ftproxy does not log in`,
		"optional": `write "explicit" for AUTH TLS, without which ftproxy does not log in`,
	}, TLSOff, TLSExplicit, TLSImplicit)
	data := string(b.Data)
	t.choice("data", &data, string(DataPrivate), string(DataClear), string(DataSameAsClient))
	b.Data = TLSData(data)
	b.CA = t.pem("ca")
	b.ServerName = t.serverName()
	b.Certificate.Certificate, b.Certificate.Key = t.pem("certificate"), t.pem("key")
	t.boolean("insecure_skip_verify", &b.InsecureSkipVerify)
	t.boolean("strict_eof", &b.StrictEOF)
	t.versions(&b.MinVersion, &b.MaxVersion, tls.VersionTLS10)

	if known && !b.Mode.On() {
		without := newBackendTLS()
		t.withoutTLS(b.settings(), without.settings(), "explicit")
		return b
	}
	if !t.given("certificate") && b.Certificate.Key != "" {
		t.faultAt(t.line("key"), "key", wrongf(`write certificate = "/etc/ftproxy/certificate.pem", too, or remove this key`, "has no effect without certificate"))
	}
	b.Certificate.Key = cmp.Or(b.Certificate.Key, b.Certificate.Certificate)
	for key, value := range map[string]string{"ca": b.CA, "server_name": b.ServerName} {
		if value != "" && b.InsecureSkipVerify {
			t.faultAt(t.line(key), key, wrongf("remove insecure_skip_verify, or this key", "is of no use with insecure_skip_verify = true, because no certificate is checked"))
		}
	}
	return b
}

// tlsMode sets *m to the mode that the table has; ok is false if it is none of
// modes. usual is the one to propose, and hints those for words that the other
// side has.
func (t table) tlsMode(m *TLSMode, usual string, hints map[string]string, modes ...TLSMode) (ok bool) {
	s, given := t.text("mode", usual)
	if !given {
		return t.entry.table["mode"] == nil
	}
	if hint := hints[s.value]; hint != "" {
		t.faultAt(s.line, "mode", wrongf(hint, "%q is not known", s.value))
		return false
	}
	words := make([]string, len(modes))
	for i, mode := range modes {
		words[i] = string(mode)
	}
	word := string(*m)
	t.choice("mode", &word, words...)
	*m = TLSMode(word)
	return word == s.value
}

// withoutTLS reports keys that were given a value in vain, because TLS is off.
func (t table) withoutTLS(got, defaults []setting, usual string) {
	for i, s := range got {
		switch {
		case s == defaults[i]:
		case t.entry.table["mode"] == nil:
			t.faultAt(t.entry.line, "mode", wrongf(fmt.Sprintf("write mode = %q", usual), "is missing, and %s has no effect without it", s.key))
			return
		default:
			t.faultAt(t.line(s.key), s.key, wrongf(fmt.Sprintf("write mode = %q, or remove this key", usual), `has no effect with mode = "off"`))
		}
	}
}

// given tells whether a key has a value other than "", sound or not.
func (t table) given(key string) bool {
	e := t.entry.table[key]
	return e != nil && e.value != ""
}

// count returns how many values a key has, sound or not.
func (t table) count(key string) int {
	e := t.entry.table[key]
	if e == nil {
		return 0
	}
	if list, ok := e.value.([]any); ok {
		return len(list)
	}
	return 1
}

// pem returns the path that key has; empty is none.
func (t table) pem(key string) string {
	usual := "/etc/ftproxy/" + key + ".pem"
	s, ok := t.text(key, usual)
	if !ok || s.value == "" {
		return ""
	}
	path, w := parsePEM(s.value, usual)
	if w != nil {
		t.faultAt(s.line, key, w)
		return ""
	}
	return path
}

// pems returns the paths of a key that has one or a list of them.
func (t table) pems(key string) (paths []text) {
	usual := "/etc/ftproxy/ftp.example.net.pem"
	if key == "key" {
		usual = "/etc/ftproxy/ftp.example.net.key"
	}
	for _, s := range t.list(key, usual) {
		path, w := parsePEM(s.value, usual)
		if w != nil {
			t.faultAt(s.line, key, w)
			continue
		}
		paths = append(paths, text{path, s.line})
	}
	return paths
}

// certificates reads certificate and key. Where no key is written each is in the
// file of its certificate, as for HAProxy.
func (t table) certificates() (pairs []KeyPair) {
	certificates, keys := t.pems("certificate"), t.pems("key")
	for i, c := range certificates {
		if slices.ContainsFunc(certificates[:i], func(o text) bool { return o.value == c.value }) {
			t.faultAt(c.line, "certificate", wrongf("write it once", "%q is named twice", c.value))
		}
		pairs = append(pairs, KeyPair{c.value, c.value})
	}
	want, got := t.count("certificate"), t.count("key")
	switch {
	case got == 0 || want == 0 || len(keys) != got || len(certificates) != want:
	case got != want:
		t.faultAt(t.line("key"), "key", wrongf("write one key for each certificate, in the same order, or none if each is in the file of its certificate",
			"number of keys: %d, of certificates: %d", got, want))
	default:
		for i := range pairs {
			pairs[i].Key = keys[i].value
		}
	}
	return pairs
}

// serverName reads server_name. Certificates hold names without the dot that
// may end them elsewhere.
func (t table) serverName() string {
	const key, hint = "server_name", `write the name in the servers' certificates, for example "ftp.example.net"`
	s, ok := t.text(key, "ftp.example.net")
	if !ok || s.value == "" {
		return ""
	}
	host, port, _ := cutPort(s.value, "21")
	switch bare := strings.TrimSuffix(host, "."); {
	case !isHostName(host):
		t.faultAt(s.line, key, wrongf(hint, "%q is no host name", s.value))
	case port != "" || bare != host:
		t.faultAt(s.line, key, wrongf(fmt.Sprintf("write %q", bare), "%q is more than a host name", s.value))
	default:
		return host
	}
	return ""
}

// versions reads min_version and max_version, of which none is below oldest.
func (t table) versions(least, most *uint16, oldest uint16) {
	sound := t.version("min_version", least, oldest)
	if !t.version("max_version", most, oldest) || !sound || *least <= *most {
		return
	}
	if t.entry.table["min_version"] == nil {
		t.faultAt(t.line("max_version"), "max_version", wrongf(fmt.Sprintf("write min_version = %q, too", versionName(*most)),
			"%q is below min_version, which is %q if it is not written", versionName(*most), versionName(*least)))
		return
	}
	t.faultAt(t.line("min_version"), "min_version", wrongf(fmt.Sprintf("write %q or less", versionName(*most)),
		"%q is above max_version, which is %q", versionName(*least), versionName(*most)))
}

// version sets *v to the version that key has; ok is false if it has none of those.
func (t table) version(key string, v *uint16, oldest uint16) (ok bool) {
	e := t.entry.table[key]
	if e == nil {
		return true
	}
	allowed := versionNames[oldest-tls.VersionTLS10:]
	hint := "write one of " + quoteAll(allowed)
	s, ok := e.value.(string)
	if !ok {
		meant := versionName(*v)
		if n, ok := e.value.(float64); ok && slices.Contains(allowed, strconv.FormatFloat(n, 'f', 1, 64)) {
			meant = strconv.FormatFloat(n, 'f', 1, 64)
		}
		t.wrongType(e.line, key, "a string", e.value, strconv.Quote(meant))
		return false
	}
	bare := strings.TrimLeft(strings.ToLower(s), "tlsv ") // TLSv1.2, TLS 1.2
	i := slices.Index(versionNames, bare)
	switch {
	case i < 0:
		t.faultAt(e.line, key, wrongf(hint, "%q is no version of TLS", s))
	case !slices.Contains(allowed, bare):
		t.faultAt(e.line, key, wrongf(hint, "%q is deprecated (RFC 8996) and allowed towards servers only", s))
	case bare != s:
		t.faultAt(e.line, key, wrongf(fmt.Sprintf("write %q", bare), "%q is not written as a version", s))
	default:
		*v = tls.VersionTLS10 + uint16(i)
		return true
	}
	return false
}
