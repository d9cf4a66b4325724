package integration

import (
	"crypto/tls"
	"net"
	"testing"
)

// TestServersAnswerBeforeEOF: outside of a transfer these servers answer what they were
// sent before they look at the end of the stream, also where that takes seconds. So
// ftproxy may half-close behind the last command of a client that has left
// (leaveAfter in proxy/leaving.go). No ftproxy is between.
func TestServersAnswerBeforeEOF(t *testing.T) {
	for _, kind := range serverKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s := kind.start(t, kind.address(p), folder(t))
			dial := func() *raw {
				r, code, err := dialRaw(p.client, s.addr, patience)
				if err != nil || code != 220 {
					t.Fatal(code, err)
				}
				return r
			}
			r := dial()
			if err := r.login(s.user, s.pass); err != nil {
				t.Fatal(err)
			}
			r.leave(t, "TYPE I\r\nPWD", 200, 257)
			if s.user == "anonymous" {
				return // Any password will do.
			}
			r = dial()
			if _, err := r.expect(331, "USER "+s.user); err != nil {
				t.Fatal(err)
			}
			r.leave(t, "PASS wrong", 530)
		})
	}
	for _, name := range tlsServers {
		t.Run(name+" with TLS", func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			cert := certificateFor(t, p.server)
			s := startProtected(t, name, p.server, folder(t), serverTLS{file: cert.File})
			r, err := logInProtected(p.client, s.addr, s, clientConfig(cert.Pool, "", nil))
			if err != nil {
				t.Fatal(err)
			}
			r.leave(t, "TYPE I\r\nPWD", 200, 257)
		})
	}
}

// leave sends commands, half-closes and expects their replies.
func (r *raw) leave(t *testing.T, commands string, replies ...int) {
	t.Helper()
	defer r.Close()
	if err := r.send(commands); err != nil {
		t.Fatal(err)
	}
	conn := r.Conn
	if secured, ok := conn.(*tls.Conn); ok {
		if err := secured.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		conn = secured.NetConn()
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for _, want := range replies {
		if code, text, err := r.reply(); code != want {
			t.Errorf("%d %s (%v) behind a half-close, want %d", code, text, err, want)
		}
	}
}
