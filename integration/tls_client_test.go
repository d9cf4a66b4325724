package integration

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
)

// The raw client under TLS.

// clientConfig trusts one certificate. With a cache it resumes sessions; version is
// "1.2", "1.3" or "", which is either.
func clientConfig(ca *x509.CertPool, version string, cache tls.ClientSessionCache) *tls.Config {
	c := &tls.Config{RootCAs: ca, ServerName: "ftp.example.com", ClientSessionCache: cache}
	switch version {
	case "1.2":
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	case "1.3":
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// logInProtected connects, says AUTH TLS, logs in, and has data connections protected.
func logInProtected(from netip.Addr, to netip.AddrPort, s *server, c *tls.Config) (*raw, error) {
	r, code, err := dialRaw(from, to, sessionPatience)
	if err != nil {
		return nil, err
	}
	if code != 220 {
		err = fmt.Errorf("greeting %d, want 220", code)
	} else {
		err = r.protect(c, s)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *raw) protect(c *tls.Config, s *server) error {
	if _, err := r.expect(234, "AUTH TLS"); err != nil {
		return err
	}
	secured := tls.Client(r.Conn, c)
	if err := secured.Handshake(); err != nil {
		return err
	}
	r.Conn, r.r = secured, textproto.NewReader(bufio.NewReader(secured))
	if err := r.login(s.user, s.pass); err != nil {
		return err
	}
	if _, err := r.expect(200, "PBSZ 0"); err != nil {
		return err
	}
	if _, err := r.expect(200, "PROT P"); err != nil {
		return err
	}
	r.data = c
	return nil
}

// secure makes a data connection what PROT says.
func (r *raw) secure(conn net.Conn) net.Conn {
	if r.data == nil {
		return conn
	}
	return tls.Client(conn, r.data)
}

// finish ends an upload. Under TLS 1.3 there may be tickets that nobody has read, and
// closing on them would be a reset; so all is read first.
func finish(conn net.Conn) error {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return conn.Close()
	}
	if err := secured.Handshake(); err != nil { // Of an empty file nothing was written yet.
		return err
	}
	if err := secured.CloseWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, secured); err != nil {
		return err
	}
	return conn.Close()
}
