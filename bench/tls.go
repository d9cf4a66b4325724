//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ftproxy/internal/certs"
)

// A protection says which connections of a proxy have TLS.
type protection int

const (
	inClear protection = iota
	inFront            // those with the clients
	bothSides
)

func (p protection) String() string {
	return [...]string{"", "TLS in front", "TLS on both sides"}[p]
}

// A certificate is everybody's: the proxies show it to users, and the stub to the
// proxies. Its key is of P-256, with which a handshake costs least everywhere.
type certificate struct {
	file   string // PEM: the certificate and its key
	config *tls.Config
	// ticketless is for data connections at the stub: mod_proxy leaves tickets
	// unread there, and its close becomes a reset.
	ticketless *tls.Config
}

// newCertificate writes one below dir, for the user that ftproxy runs as.
func newCertificate(dir string) (*certificate, error) {
	text, key, err := certs.SelfSigned(time.Now().AddDate(0, 0, 7), "bench")
	if err != nil {
		return nil, err
	}
	text = append(text, key...)
	c := &certificate{file: filepath.Join(dir, "certificate.pem")}
	if err := os.WriteFile(c.file, text, 0o600); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		err = os.Chown(c.file, unprivileged, unprivileged)
	}
	return c, errors.Join(err, c.load())
}

// load reads what newCertificate has written, here or in another process.
func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.file, c.file)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	// One configuration is a user's and the stub's. Nothing is resumed: each
	// handshake is a whole one.
	c.config = &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "bench",
		MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true,
	}
	c.ticketless = c.config.Clone()
	c.ticketless.SessionTicketsDisabled = true
	return nil
}

// errSuite is a peer that spoke something else than all others do.
var errSuite = errors.New("not TLS 1.3 with AES-128-GCM")

// shake makes a handshake on fd, as a client or as a server.
func (c *control) shake(fd int, certificate *certificate, server bool) (*secured, error) {
	s := &secured{carrier: carrier{of: c, fd: fd, waits: true}}
	switch {
	case !server:
		s.Conn = tls.Client(&s.carrier, certificate.config)
	case fd == c.fd:
		s.Conn = tls.Server(&s.carrier, certificate.config)
	default:
		s.Conn = tls.Server(&s.carrier, certificate.ticketless)
	}
	if err := s.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	if cs := s.ConnectionState(); cs.Version != tls.VersionTLS13 || cs.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return nil, fmt.Errorf("%w: %s, %s", errSuite, tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite))
	}
	return s, nil
}

// A secured is a connection with TLS.
type secured struct {
	*tls.Conn
	carrier carrier
}

// read reads as read(2) does: it returns EAGAIN when there is nothing.
func (s *secured) read(b []byte) (int, error) {
	s.carrier.waits = false
	n, err := s.Read(b)
	s.carrier.waits = true
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, errNothing):
		return 0, unix.EAGAIN
	case err == io.EOF:
		return 0, nil
	}
	return 0, err
}

// flushed is how much goes with one write(2). crypto/tls alone would write each
// record of 16 KiB.
const flushed = 256 << 10

// sealed is what data is made of.
var sealed [flushed]byte

// send protects and sends up to n bytes. It waits until the connection takes them.
func (s *secured) send(n int64, _ int) (int64, error) {
	s.carrier.gathers = true
	sent, err := s.Write(sealed[:min(n, int64(len(sealed)))])
	return int64(sent), errors.Join(err, s.carrier.flush())
}

// discard takes what comes off the connection, without a look at it: the load must
// not be what limits a proxy, and to decrypt costs it as much as to encrypt costs
// the proxy. So bytes are counted as they are on the wire.
func (s *secured) discard(most int) (int64, error) {
	n, err := discard(s.carrier.fd, most)
	s.carrier.came += n
	return n, err
}

// end says close_notify, having read what a user who only sends would leave
// unread: the tickets of TLS 1.3, which would make the end a reset.
func (s *secured) end(reads bool) error {
	if reads {
		var one [1]byte
		if _, err := s.read(one[:]); err != nil && err != unix.EAGAIN {
			return err
		}
	}
	return errors.Join(s.CloseWrite(), s.carrier.flush())
}

// A carrier is a descriptor as crypto/tls wants it. Its waits are those of a task,
// so a handshake is a part of the loop as everything else is.
type carrier struct {
	of      *control // whose task waits
	fd      int
	waits   bool   // in reads; otherwise they end with errNothing
	gathers bool   // writes, until there is enough
	out     []byte // that was gathered
	came    int64  // bytes, as they are on the wire
}

// nothing is temporary: crypto/tls goes on later as if it had not been.
type nothing struct{}

func (nothing) Error() string   { return "nothing there" }
func (nothing) Timeout() bool   { return false }
func (nothing) Temporary() bool { return true }

var errNothing net.Error = nothing{}

func (c *carrier) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, b)
		switch {
		case n > 0:
			c.came += int64(n)
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == unix.EINTR:
		case err != unix.EAGAIN:
			return 0, fmt.Errorf("read: %w", err)
		case !c.waits:
			return 0, errNothing
		default:
			if err := c.of.t.wait(); err != nil {
				return 0, err
			}
		}
	}
}

func (c *carrier) Write(b []byte) (int, error) {
	if !c.gathers {
		return len(b), c.of.put(c.fd, b)
	}
	c.out = append(c.out, b...)
	if len(c.out) >= flushed {
		return len(b), c.flush()
	}
	return len(b), nil
}

// flush writes what was gathered.
func (c *carrier) flush() error {
	err := c.of.put(c.fd, c.out)
	c.out = c.out[:0]
	return err
}

// Close leaves the descriptor to the loop.
func (c *carrier) Close() error                     { return nil }
func (c *carrier) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *carrier) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *carrier) SetDeadline(time.Time) error      { return nil }
func (c *carrier) SetReadDeadline(time.Time) error  { return nil }
func (c *carrier) SetWriteDeadline(time.Time) error { return nil }
