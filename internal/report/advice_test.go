package report

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"ftproxy/internal/balance"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/portpool"
	"ftproxy/internal/transfer"
)

// Each reason why a server cannot be used has its own advice.
func TestServerAdvice(t *testing.T) {
	refused := func(code int, text string) error {
		return &dial.Refused{Reply: ftp.Reply{Code: code, Lines: []string{text}}}
	}
	for _, tt := range []struct {
		name    string
		err     error
		secured bool
		want    string
	}{
		{"certificate expired", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, true, "has expired"},
		{"certificate not trusted", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, true, "server_name or ca in [backend.b.tls]"},
		{"no TLS at this port", tls.RecordHeaderError{}, true, `mode = "explicit" in [backend.b.tls]`},
		{"no TLS at all", dial.ErrProtection, true, `mode = "off"`},
		{"TLS wanted", refused(421, "421 Use TLS."), false, `the server wants TLS`},
		{"TLS wanted, and used", refused(421, "421 Use TLS."), true, `limits`},
		{"refused", refused(421, "421 Too many."), false, "limits"},
		{"ftproxy itself", dial.ErrLoop, false, "DNS or /etc/hosts"},
		{"another certificate", &ftps.FingerprintError{}, true, "write its fingerprint"},
		{"handshake failed", dial.ErrHandshake, true, `ciphers = "legacy"`},
		{"silent in TLS", ftps.ErrNoHandshake, true, "implicit TLS"},
		{"silent", os.ErrDeadlineExceeded, false, "a port of FTP"},
		{"closed", io.EOF, false, "a ban"},
		{"reset", syscall.ECONNRESET, false, "a ban"},
		{"nobody listens", syscall.ECONNREFUSED, false, "runs and listens"},
		{"no machine", syscall.ETIMEDOUT, false, "machine runs"},
		{"anything else", errors.New("x"), false, ""},
	} {
		got := string(server("b", tt.secured, false, fmt.Errorf("dial: %w", tt.err)))
		if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}

// What to check for a refused setup depends on what the reply means.
func TestSetupAdvice(t *testing.T) {
	for _, tt := range []struct {
		verb    string
		secured bool
		code    int
		text    string
		want    string
	}{
		{"PASV", false, 522, "522 Data connections must be encrypted.", `data = "private"`},
		{"PASV", true, 502, "502 No TLS for PASV.", `data = "active" in [backend.b]`},
		{"PORT", false, 500, "500 What?", `data = "passive" in [backend.b]`},
		{"PORT", false, 425, "425 Not now.", ""},
	} {
		got := string(setup("b", tt.verb, tt.secured, tt.code, tt.text))
		if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s, %q: %q; want %q", tt.verb, tt.text, got, tt.want)
		}
	}
}

// testSession is a session whose lines go to the buffer.
func testSession(out io.Writer) *Session {
	lines := &logline.Summary{Log: logline.Log{Logger: zerolog.New(out), Verbs: func(verb string) (known, secret bool) { return true, verb == "PASS" }}}
	return &Session{Lines: lines, Name: "p-1", Client: netip.MustParseAddrPort("198.51.100.7:40000"), Local: netip.MustParseAddrPort("203.0.113.9:21"),
		Frontend: "public", Backend: "inside", Secrets: new(atomic.Pointer[logline.Secrets])}
}

// A session's lines name it, and withhold its secrets wherever they are quoted.
func TestSessionLines(t *testing.T) {
	var out bytes.Buffer
	s := testSession(&out)
	defer s.Lines.Close()
	if !s.KeepSecrets(ftp.Command{Verb: "PASS", Arg: []byte("hunter2000"), HasArg: true}) || s.KeepSecrets(ftp.Command{Verb: "NOOP"}) {
		t.Error("only PASS has a secret")
	}
	s.LoginFailed("anna", "PASS", 530, "530 hunter2000 is wrong")
	s.ServerLeaves("anna", "")
	s.ServerUnusable(balance.Target{Name: "10.0.0.5:21", Addr: netip.MustParseAddrPort("10.0.0.5:21")}, syscall.ECONNREFUSED)
	s.Hello(nil)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{`"reply":"` + logline.Withheld + `"`, `limits for sessions`, `runs and listens`, `this port has no TLS`} {
		if i >= len(lines) || !strings.Contains(lines[i], want) || !strings.Contains(lines[i], `"session":"p-1","client":"198.51.100.7:40000","backend":"inside"`) {
			t.Fatalf("want %q in line %d of\n%s", want, i, out.String())
		}
	}
}

// A connection that never came has the advice that fits who was to connect, and how.
func TestAbsences(t *testing.T) {
	var out bytes.Buffer
	s := testSession(&out)
	defer s.Lines.Close()
	ports := portpool.Range{First: 30000, Last: 30099}
	told := netip.MustParseAddrPort("203.0.113.9:30000")
	listens := transfer.Unmet{Addr: told, Listens: true}
	for _, tt := range []struct {
		tell func(Absence)
		of   Absence
		want string
	}{
		{s.ClientAbsent, Absence{Unmet: listens, Verb: "PASV", Ports: ports, Told: told}, "public_address (203.0.113.9) must be where clients reach ftproxy"},
		{s.ClientAbsent, Absence{Unmet: listens, Verb: "EPSV", Ports: ports, Told: told}, "at the address of its control connection"},
		{s.ClientAbsent, Absence{Unmet: listens, Verb: "PASV", Ports: ports, Told: told, Proxied: true}, "the load balancer"},
		{s.ClientAbsent, Absence{Unmet: transfer.Unmet{Addr: told, Err: syscall.ECONNREFUSED}, Verb: "PORT"}, "a client that says PASV"},
		{s.ServerAbsent, Absence{Unmet: listens, Verb: "PORT", Ports: ports}, "data_ports (30000-30099)"},
		{s.ServerAbsent, Absence{Unmet: transfer.Unmet{Addr: told}, Verb: "PASV"}, "no answer for"},
	} {
		s.Lines = &logline.Summary{Log: s.Lines.Log} // So none is only counted.
		out.Reset()
		if tt.tell(tt.of); !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: %s; want %q", tt.of.Verb, out.String(), tt.want)
		}
		s.Lines.Close()
	}
}
