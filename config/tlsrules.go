package config

import (
	"cmp"
	"fmt"
)

// frontendTLSRules reports keys that are wrong beside each other.
func frontendTLSRules(s *section[FrontendTLS], t table, f *FrontendTLS) {
	switch {
	case !t.sound("mode"):
	case !f.Mode.On():
		withoutTLS(s, t, f, "required")
	case t.count("certificate") == 0:
		t.faultAt(t.line("mode"), "certificate", wrongf(`write certificate = "/etc/ftproxy/ftp.example.net.pem" with the path of yours`,
			"is missing, and mode = %q needs it", f.Mode))
	}
	switch key := "client_certificate"; {
	case t.given("client_ca"):
		f.ClientCertificate = cmp.Or(f.ClientCertificate, certificateRequired) // "" is as if it was not written
	case f.ClientCertificate != "" && f.Mode.On():
		t.faultAt(t.line(key), key,
			wrongf(`write client_ca = "/etc/ftproxy/client_ca.pem", too, or remove this key`, "has no effect without client_ca"))
	}
	t.versionsRule(f.MinVersion, f.MaxVersion)
}

// backendTLSRules reports keys that are wrong beside each other.
func backendTLSRules(s *section[BackendTLS], t table, b *BackendTLS) {
	t.versionsRule(b.MinVersion, b.MaxVersion)
	if t.sound("mode") && !b.Mode.On() {
		withoutTLS(s, t, b, "explicit")
		return
	}
	if !t.given("certificate") && b.Certificate.Key != "" {
		t.faultAt(t.line("key"), "key", wrongf(`write certificate = "/etc/ftproxy/certificate.pem", too, or remove this key`, "has no effect without certificate"))
	}
	if b.Fingerprint != "" && b.CA != "" {
		t.faultAt(t.line("ca"), "ca", wrongf("remove fingerprint, or this key", "is of no use with fingerprint, which trusts one certificate whoever signed it"))
	}
	for key, value := range map[string]string{"ca": b.CA, "fingerprint": b.Fingerprint, "server_name": b.ServerName} {
		if value != "" && b.InsecureSkipVerify {
			t.faultAt(t.line(key), key, wrongf("remove insecure_skip_verify, or this key", "is of no use with insecure_skip_verify = true, because no certificate is checked"))
		}
	}
}

// withoutTLS reports keys that were given a value in vain, because TLS is off.
// usual is the mode to propose.
func withoutTLS[T any](s *section[T], t table, v *T, usual string) {
	defaults := s.defaults()
	preset := s.settings(&defaults)
	for i, got := range s.settings(v) {
		switch {
		case got == preset[i]:
		case t.entry.table["mode"] == nil:
			t.faultAt(t.entry.line, "mode", wrongf(fmt.Sprintf("write mode = %q", usual), "is missing, and %s has no effect without it", got.key))
			return
		default:
			t.faultAt(t.line(got.key), got.key, wrongf(fmt.Sprintf("write mode = %q, or remove this key", usual), `has no effect with mode = "off"`))
		}
	}
}

// versionsRule reports an oldest version of TLS above the newest.
func (t table) versionsRule(least, most uint16) {
	if !t.sound("min_version") || !t.sound("max_version") || least <= most {
		return
	}
	if t.entry.table["min_version"] == nil {
		t.faultAt(t.line("max_version"), "max_version", wrongf(fmt.Sprintf("write min_version = %q, too", versionName(most)),
			"%q is below min_version, which is %q if it is not written", versionName(most), versionName(least)))
		return
	}
	t.faultAt(t.line("min_version"), "min_version", wrongf(fmt.Sprintf("write %q or less", versionName(most)),
		"%q is above max_version, which is %q", versionName(least), versionName(most)))
}
