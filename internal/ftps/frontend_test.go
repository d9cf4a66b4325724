package ftps

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
)

// What all control connections share follows the process's keys: a session under
// a key that is gone is not resumed.
func TestSharedTicketKeys(t *testing.T) {
	c := ftptest.Certificate(t, "ftp.example.com")
	front, err := NewFrontend(&config.Frontend{Name: "public", TLS: config.FrontendTLS{Mode: config.TLSRequired,
		Certificates: []config.KeyPair{{Certificate: c.File, Key: c.File}}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}})
	if err != nil {
		t.Fatal(err)
	}
	first, second := [32]byte{1}, [32]byte{2}
	user := &tls.Config{RootCAs: c.Pool, ServerName: "ftp.example.com", ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for _, tt := range []struct {
		name    string
		keys    [][32]byte
		resumes bool
	}{
		{"the first", [][32]byte{first}, false},
		{"the same key", [][32]byte{first}, true},
		{"a new key, the old one kept", [][32]byte{second, first}, true},
		{"the old one gone", [][32]byte{second}, true}, // its ticket was of the new one
		{"another", [][32]byte{{3}}, false},
	} {
		shared := front.shared(tt.keys)
		if got := resumes(t, user, shared); got != tt.resumes {
			t.Errorf("%s: resumed %v, want %v", tt.name, got, tt.resumes)
		}
		if shared != front.shared(tt.keys) {
			t.Errorf("%s: another configuration for the same keys", tt.name)
		}
	}
}

// resumes makes a connection, on which a ticket is given, and tells whether it
// resumed an earlier one's session.
func resumes(t *testing.T, client, server *tls.Config) bool {
	near, far := net.Pipe()
	defer near.Close()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(far, server)
		_, err := conn.Write([]byte("x"))
		conn.Close()
		done <- err
	}()
	conn := tls.Client(near, client)
	if _, err := io.ReadAll(conn); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	return conn.ConnectionState().DidResume
}

// TestALPN: a client that names protocols must name ours. One that names none is
// welcome.
func TestALPN(t *testing.T) {
	c := ftptest.Certificate(t, "ftp.example.com")
	for _, reuse := range []config.SessionReuse{"", config.ReuseOff, config.ReuseOffer, config.ReuseRequire} {
		front, err := NewFrontend(&config.Frontend{Name: "public", TLS: config.FrontendTLS{Mode: config.TLSRequired, SessionReuse: reuse,
			Certificates: []config.KeyPair{{Certificate: c.File, Key: c.File}}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}})
		if err != nil {
			t.Fatal(err)
		}
		keys := [][32]byte{{1}}
		for _, tt := range []struct {
			offered       []string
			control, data string // what is chosen
		}{
			{nil, "", ""},
			{[]string{"ftp"}, "ftp", "ftp"},
			{[]string{"x-filezilla-ftp", "ftp"}, "ftp", "ftp"},
			{[]string{"ftp-data"}, refused, "ftp-data"},
			{[]string{"http/1.1"}, refused, refused},
			{[]string{"h2", "http/1.1"}, refused, refused},
			{[]string{"x-filezilla-ftp"}, refused, refused},
		} {
			user := &tls.Config{RootCAs: c.Pool, ServerName: "ftp.example.com", NextProtos: tt.offered}
			if got := chosen(user, front.Control(keys, 1)); got != tt.control {
				t.Errorf("%q, offered %q on a control connection: %q, want %q", reuse, tt.offered, got, tt.control)
			}
			data, _ := front.Data(keys)
			if got := chosen(user, data); got != tt.data {
				t.Errorf("%q, offered %q on a data connection: %q, want %q", reuse, tt.offered, got, tt.data)
			}
		}
	}
}

const refused = "refused"

// chosen is the protocol that ALPN agrees on.
func chosen(client, server *tls.Config) string {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		conn := tls.Server(far, server)
		_ = conn.Handshake()
		conn.Close()
	}()
	conn := tls.Client(near, client)
	if conn.Handshake() != nil {
		return refused
	}
	return conn.ConnectionState().NegotiatedProtocol
}
