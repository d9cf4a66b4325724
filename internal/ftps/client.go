package ftps

import (
	"crypto/x509"
	"strings"

	"ftproxy/config"
)

// A Client is what a session and its client have agreed on about protection (RFC 4217). Its
// methods are the client's commands: each gives the reply, which is a refusal where its
// code is 400 or more. secured tells whether the control connection is protected.
type Client struct {
	Late      bool              // it is too late for AUTH: in the clear the server has heard of a login
	Heard     bool              // in the clear the server has heard what AUTH has to make it forget
	Certified *x509.Certificate // the client's certificate, if the control connection has one
	Level     byte              // of the client's data connections: 'C' or 'P' (RFC 2228 §3)
}

// AUTH takes a mechanism. front may be nil.
func (c *Client) AUTH(front *Frontend, secured bool, mechanism string) (code int, text string) {
	switch {
	case front == nil:
		return 502, "AUTH is not available here."
	case secured:
		return 503, "The control connection is protected already."
	case c.Late:
		return 503, "AUTH comes before USER."
	}
	switch strings.ToUpper(mechanism) {
	case "TLS", "TLS-C":
	case "SSL", "TLS-P":
		c.Level = 'P' // What they stood for in the drafts (RFC 4217 §17).
	default:
		return 504, "Use AUTH TLS."
	}
	return 234, "AUTH command successful."
}

// PBSZ takes the only size that TLS has (RFC 4217 §8).
func (c *Client) PBSZ(secured bool, size string) (code int, text string) {
	switch {
	case !secured:
		return 503, "AUTH comes first."
	case strings.Trim(size, "0123456789") != "" || size == "" || len(size) > 10:
		return 501, "Syntax: PBSZ 0."
	}
	return 200, "PBSZ=0"
}

// PROT looks at the level that the client wants for its data connections, whatever the
// server's are (RFC 4217 §9, H70). RFC 2228 §3 wants PBSZ before it, and some clients leave
// that out; under TLS it says nothing. Whoever accepts it sets Level.
func (c *Client) PROT(front *Frontend, secured bool, want string) (level byte, code int, text string) {
	switch want = strings.ToUpper(want); {
	case !secured:
		return 0, 503, "AUTH comes first."
	case want == "S", want == "E":
		return 0, 536, "Use PROT P."
	case want != "P" && want != "C":
		return 0, 504, "Use PROT P."
	case want == "C" && front.RequireData:
		return 0, 534, "Data connections must be protected."
	}
	return want[0], 200, "Protection level set to " + want + "."
}

// CCC keeps the control connection protected: who could read it could follow
// the data connections (RFC 4217 §15.3, H76).
func (c *Client) CCC(secured bool) (code int, text string) {
	if !secured {
		return 533, "The control connection is not protected."
	}
	return 534, "The control connection stays protected."
}

// Features are the lines of FEAT for protection. f may be nil.
func (f *Frontend) Features() []string {
	switch {
	case f == nil:
		return nil
	case f.Implicit():
		return []string{"PBSZ", "PROT"}
	}
	return []string{"AUTH TLS", "PBSZ", "PROT"}
}

// Level is what the data connections of a server must have now, that was told so: 'C' or
// 'P'. always: it protects them and does not know PROT. client: the client's are
// protected. b may be nil.
func (b *Backend) Level(told byte, always, client bool) byte {
	switch {
	case b == nil:
		return told
	case always, b.Data == config.DataPrivate, b.Data == config.DataSameAsClient && client:
		return 'P'
	}
	return 'C'
}
