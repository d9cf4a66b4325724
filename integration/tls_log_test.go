package integration

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ftproxy/internal/ftptest"
)

// TestTLSMistakesInTheLog: curl that speaks TLS otherwise than the frontend wants has one
// line in the log, with our address and port, and what to check.
func TestTLSMistakesInTheLog(t *testing.T) {
	throughProxy(t)
	p := newPlace(t)
	path := command(t, "curl")
	s := startVsftpdWith(t, p.server, folder(t), "", serverTLS{})
	good := certificateFor(t, p.proxy)
	old := ftptest.CertificateUntil(t, time.Now().Add(-time.Hour), "ftp.example.com", p.proxy.String())
	modes := map[string]string{
		"required": fmt.Sprintf("mode = \"required\", certificate = %q", good.File),
		"optional": fmt.Sprintf("mode = \"optional\", certificate = %q, require_data = true", good.File),
		"explicit": fmt.Sprintf("mode = \"optional\", certificate = %q", good.File),
		"implicit": fmt.Sprintf("mode = \"implicit\", certificate = %q", good.File),
		"expired":  fmt.Sprintf("mode = \"optional\", certificate = %q", old.File),
	}
	at := make(map[string]netip.AddrPort)
	c := configure(t, p, s.addr)
	var more strings.Builder
	for name, tls := range modes {
		at[name] = netip.AddrPortFrom(p.proxy, freePort(t, p.proxy))
		fmt.Fprintf(&more, "[frontend.%s]\nlisten = %q\npassive_ports = %q\nbackend = \"second\"\ntls = { %s }\n", name, at[name], p.passive, tls)
	}
	fmt.Fprintf(&more, "[backend.second]\nservers = %q\n", s.addr)
	c.more = more.String()
	ftproxy := startProxy(t, c)
	for _, tt := range []struct {
		name, frontend string
		curl           []string
		scheme         string
		message, check string
	}{
		{"in the clear at required", "required", nil, "ftp", "command refused", `the client speaks in the clear`},
		{"PROT C refused", "required", []string{"--ftp-ssl-control", "--cacert", good.File}, "ftp", "command refused", "set it to PROT P"},
		{"data in the clear", "optional", nil, "ftp", "command refused", "set it to PROT P"},
		{"implicit client at an explicit port", "explicit", []string{"--cacert", good.File}, "ftps", "TLS with the client failed", "set the client to explicit TLS"},
		{"explicit client at an implicit port", "implicit", []string{"--ssl-reqd", "--cacert", good.File, "--max-time", "3"}, "ftp", "TLS with the client failed", "this port is of implicit TLS"},
		{"expired certificate", "expired", []string{"--ssl-reqd", "--cacert", old.File}, "ftp", "TLS with the client failed", "has expired at"},
		{"certificate that the client does not trust", "optional", []string{"--ssl-reqd"}, "ftp", "TLS with the client failed", "whether the client trusts the certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(ftproxy.out.String())
			args := append([]string{"-q", "-sS", "--max-time", "60", "-u", s.user + ":" + s.pass}, tt.curl...)
			out, err := exec.Command(path, append(args, tt.scheme+"://"+at[tt.frontend].String()+"/")...).CombinedOutput()
			if err == nil {
				t.Errorf("curl succeeds: %s", out)
			}
			wantOneWarningSince(t, ftproxy.process, before, tt.message, "local", at[tt.frontend].String(), tt.check)
		})
	}
}

// wantOneWarning waits for the one warning with a message. The field key begins so, and what
// to check has a text.
func wantOneWarning(t *testing.T, p *process, message, key, begin, check string) {
	t.Helper()
	wantOneWarningSince(t, p, 0, message, key, begin, check)
}

// wantOneWarningSince looks at what was logged behind so many bytes.
func wantOneWarningSince(t *testing.T, p *process, since int, message, key, begin, check string) {
	t.Helper()
	var found []map[string]any
	waitFor(t, message, time.Minute, func() bool {
		found = nil
		for line := range strings.Lines(p.out.String()[since:]) {
			var l map[string]any
			if json.Unmarshal([]byte(line), &l) == nil && l["message"] == message {
				found = append(found, l)
			}
		}
		return len(found) > 0
	})
	got, advice := fmt.Sprint(found[0][key]), fmt.Sprint(found[0]["check"])
	if len(found) != 1 || found[0]["level"] != "warn" || !strings.HasPrefix(got, begin) || !strings.Contains(advice, check) {
		t.Errorf("%d lines; %s is %q, want %q…; check is %q, want …%q…", len(found), key, got, begin, advice, check)
	}
}
