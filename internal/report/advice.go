package report

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/ftps"
	"ftproxy/internal/tcp"
)

// What the log advises to look at, where a peer refuses us or we refuse it. An empty word
// is no advice: the line says it all.

// advise adds what to look at to a line, if there is anything.
func advise(e line, check word) line {
	if check == "" {
		return e
	}
	return e.Str("check", check)
}

const checkLimits = "the server's limits for sessions and for one address: it sees ftproxy's address for all clients"

// login is what to look at when the server refuses a login. secured: it is reached by TLS.
func login(backend string, secured bool, code int, text string) word {
	if secured || !ftp.WantsTLS(code, text) {
		return ""
	}
	return word(`the server wants TLS: write mode = "explicit" in [backend.` + backend + `.tls]`)
}

// server is what to look at when a server cannot be used. secured: it is to be reached by
// TLS, implicit TLS or not.
func server(backend string, secured, implicit bool, err error) word {
	table := `[backend.` + backend + `.tls]`
	var invalid x509.CertificateInvalidError
	var untrusted *tls.CertificateVerificationError
	var fingerprint *ftps.FingerprintError
	var record tls.RecordHeaderError
	refused := dial.LastRefusal(err)
	switch {
	case errors.Is(err, dial.ErrLoop):
		return word("servers in [backend." + backend + "], and what DNS or /etc/hosts says of that name: it must be the FTP server's address")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or this machine's clock is wrong"
	case errors.As(err, &untrusted):
		return word("the server's certificate: write server_name or ca in " + table)
	case errors.As(err, &fingerprint):
		return word("ask who runs the server whether its certificate is new: then write its fingerprint in " + table)
	case errors.As(err, &record):
		return word("whether this is a port of implicit TLS; for port 21 write mode = \"explicit\" in " + table)
	case errors.Is(err, dial.ErrProtection):
		return word("whether TLS is turned on in the server; else write mode = \"off\" in " + table)
	case refused != nil && !secured && ftp.WantsTLS(refused.Reply.Code, refused.Reply.Text()):
		return word(`the server wants TLS: write mode = "explicit" in ` + table)
	case refused != nil:
		return checkLimits
	case errors.Is(err, ftps.ErrNoHandshake):
		return word("whether this is a port of implicit TLS; for port 21 write mode = \"explicit\" in " + table)
	case errors.Is(err, os.ErrDeadlineExceeded) && !dial.Unconnected(err):
		return word("whether this is a port of FTP; for one of implicit TLS (990) write mode = \"implicit\" in " + table)
	case errors.Is(err, dial.ErrHandshake) && !(isEnd(err) && implicit):
		return word(`the versions of TLS and the cipher suites of the server: an old one needs ciphers = "legacy", a very old one min_version = "1.0" in ` + table +
			"; one that wants a certificate of ftproxy needs certificate")
	case isEnd(err):
		return "whether the server lets ftproxy's address in: its list of hosts, its limits, a ban"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "whether the server runs and listens at this port; a firewall may reject it, too"
	case tcp.IsTimeout(err):
		return "whether the server's machine runs; a firewall may drop ftproxy's connections"
	}
	return ""
}

// isEnd tells that the peer has closed or reset its connection.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// handshake is what to look at when TLS with a client fails.
func handshake(frontend string, front *ftps.Frontend, err error) word {
	var remote *net.OpError // an alert, the client's or ours
	var record tls.RecordHeaderError
	expired := ""
	for _, c := range front.Certificates() {
		if time.Now().After(c.Leaf.NotAfter) {
			expired = fmt.Sprintf("the certificate in %s has expired at %s: renew it", c.File, c.Leaf.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	silent := errors.Is(err, ftps.ErrNoHandshake) || isEnd(err)
	switch {
	case front.Implicit() && (silent || errors.As(err, &record)):
		return "this port is of implicit TLS: a client in the clear, or of explicit TLS (FTPES), needs another port"
	case expired != "":
		return word(expired)
	case errors.As(err, &remote), silent: // Under TLS 1.3 an alert may come before we can read it.
		return word(`whether the client trusts the certificate: its CA, its name, its chain; and knows the versions of TLS and the cipher suites: an old client needs ciphers = "legacy" in [frontend.` + frontend + `.tls]`)
	}
	return word(`the versions of TLS and the cipher suites of the client: min_version and max_version in [frontend.` + frontend +
		`.tls]; an old client needs ciphers = "legacy" there`)
}

// setup is what to look at when the server refuses the data connection that verb asks
// for. secured: its data connections are protected.
func setup(backend, verb string, secured bool, code int, text string) word {
	switch {
	case !secured && ftp.WantsTLS(code, text):
		return word(`the server wants TLS: write data = "private" in [backend.` + backend + `.tls]`)
	case ftp.RefusesVerb(code) && ftp.IsPassive(verb):
		return word(`whether the server allows passive mode; else write data = "active" in [backend.` + backend + `]`)
	case ftp.RefusesVerb(code):
		return word(`whether the server allows active mode; else write data = "passive" in [backend.` + backend + `]`)
	}
	return ""
}
