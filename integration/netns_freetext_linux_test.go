package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestFreeText pins which replies name an inside address in the server's own
// words. ftproxy passes such text as it is (docs/specifications.md, "Reply
// texts"), so this is the whole list of what an administrator has to know; any
// other of these commands must name none.
func TestFreeText(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	commands := []string{
		"FEAT", "HELP", "HELP STAT", "STAT", "STAT .", "SITE HELP", "SYST", "PWD", "NOOP", "MLST", "RETR missing",
		"PASV", "EPSV", "EPSV 2", "PORT 192,0,2,1,40,40", "EPRT |1|192.0.2.1|4040|", "CLNT test", "OPTS UTF8 ON", "UNKNOWN",
	}
	for _, tt := range []struct {
		kind  serverKind
		names []string // the commands whose replies name one
	}{
		// "Connected to ADDRESS": its client, which is ftproxy.
		{serverNamed("vsftpd"), []string{"STAT"}},
		// "Direct comments to root@ADDRESS", "Connected from ADDRESS". Its
		// default greeting, "ProFTPD Server (NAME) [ADDRESS]", would be here
		// if the test's configuration had not replaced it.
		{serverNamed("proftpd"), []string{"HELP", "SITE HELP", "STAT"}},
		// "Connected to  from ADDRESS".
		{serverNamed("embedded"), []string{"STAT"}},
	} {
		t.Run(tt.kind.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			e := l.ends["IPv4"]
			var s *server
			l.server.do(t, func() { s = tt.kind.start(t, e.server, folder(t)) })
			l.startProxy(t, nil, s.addr)
			var r *raw
			l.client.do(t, func() {
				var err error
				if r, _, err = dialRaw(e.client, netip.AddrPortFrom(e.outside, 21), patience); err != nil {
					t.Fatal(err)
				}
			})
			defer r.Close()
			if err := r.login(s.user, s.pass); err != nil {
				t.Fatal(err)
			}
			for _, c := range commands {
				code, text, err := r.command(c)
				if code == 0 {
					t.Fatalf("%s: %v", c, err)
				}
				found := ""
				for _, hidden := range []netip.Addr{e.server, e.inside} {
					for _, form := range forms(hidden) {
						for line := range strings.Lines(text) {
							if strings.Contains(strings.ToLower(line), form) {
								found = fmt.Sprintf("%d %s", code, strings.TrimSpace(line))
							}
						}
					}
				}
				if known := slices.Contains(tt.names, c); known != (found != "") {
					t.Errorf("%s names an inside address: %q, known: %t", c, found, known)
				} else if known {
					t.Logf("%s: %s", c, found)
				}
			}
		})
	}
}
