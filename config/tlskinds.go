package config

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The kinds of keys that more than one row for TLS has, or could have.
var (
	pem        = kind[string]{"an absolute path", cell.pem, quote}
	serverName = kind[string]{"a host name", readServerName, quote}

	fingerprint = kind[string]{`"sha256:" and 64 hexadecimal digits`, readFingerprint, quote}
)

// tlsMode is one of modes. usual is the one to propose, and hints are for the
// words that the other side has.
func tlsMode(usual string, hints map[string]string, modes ...TLSMode) kind[TLSMode] {
	k := words(modes...)
	known := k.read
	k.read = func(c cell, m *TLSMode) {
		s, ok := c.text(usual)
		switch {
		case !ok:
		case hints[s.value] != "":
			c.fault(s.line, wrongf(hints[s.value], "%q is not known", s.value))
		default:
			known(c, m)
		}
	}
	return k
}

// sessionReuse is a word, or a boolean as require_session_reuse had.
var sessionReuse = kind[SessionReuse]{reuseWords.name, readSessionReuse, reuseWords.print}

var reuseWords = words(ReuseOff, ReuseOffer, ReuseRequire)

func readSessionReuse(c cell, r *SessionReuse) {
	switch required, ok := c.entry.value.(bool); {
	case !ok:
		reuseWords.read(c, r)
	case required:
		*r = ReuseRequire
	default:
		*r = ReuseOff
	}
}

// pem reads the path of a file; "" is as if it was not written.
func (c cell) pem(path *string) {
	usual := "/etc/ftproxy/" + c.key + ".pem"
	parsed(c, path, usual, func(s string) (string, *wrong) {
		if s == "" {
			return *path, nil
		}
		return parsePEM(s, usual)
	})
}

// pems returns the paths of a key that has one or a list of them.
func (c cell) pems(usual string) (paths []text) {
	for _, s := range c.list(usual) {
		path, w := parsePEM(s.value, usual)
		if w != nil {
			c.fault(s.line, w)
			continue
		}
		paths = append(paths, text{path, s.line})
	}
	return paths
}

// certificates reads the files of certificates. Where no key is written each is in
// the file of its certificate, as for HAProxy.
func (c cell) certificates(f *FrontendTLS) {
	for _, file := range c.pems("/etc/ftproxy/ftp.example.net.pem") {
		if slices.ContainsFunc(f.Certificates, func(p KeyPair) bool { return p.Certificate == file.value }) {
			c.fault(file.line, wrongf("write it once", "%q is named twice", file.value))
		}
		f.Certificates = append(f.Certificates, KeyPair{file.value, file.value})
	}
}

// keys reads the files of the certificates' private keys.
func (c cell) keys(f *FrontendTLS) {
	keys := c.pems("/etc/ftproxy/ftp.example.net.key")
	want, got := c.in.count("certificate"), c.in.count("key")
	switch {
	case got == 0 || want == 0 || len(keys) != got || len(f.Certificates) != want:
	case got != want:
		c.fault(c.entry.line, wrongf("write one key for each certificate, in the same order, or none if each is in the file of its certificate",
			"number of keys: %d, of certificates: %d", got, want))
	default:
		for i := range f.Certificates {
			f.Certificates[i].Key = keys[i].value
		}
	}
}

// readServerName reads a host name. Certificates hold names without the dot that
// may end them elsewhere.
func readServerName(c cell, name *string) {
	const hint = `write the name in the servers' certificates, for example "ftp.example.net"`
	parsed(c, name, "ftp.example.net", func(s string) (string, *wrong) {
		host, port, _ := cutPort(s, "21")
		switch bare := strings.TrimSuffix(host, "."); {
		case s == "":
			return "", nil
		case !isHostName(host):
			return "", wrongf(hint, "%q is no host name", s)
		case port != "" || bare != host:
			return "", wrongf(fmt.Sprintf("write %q", bare), "%q is more than a host name", s)
		}
		return host, nil
	})
}

// readFingerprint reads the fingerprint of a certificate, also as openssl prints it: in
// capitals and with colons.
func readFingerprint(c cell, print *string) {
	const (
		prefix = "sha256:"
		hint   = `write "sha256:" and what openssl x509 -noout -fingerprint -sha256 -in FILE prints after the equals sign`
	)
	parsed(c, print, prefix+"0f1e…", func(s string) (string, *wrong) {
		if s == "" {
			return "", nil
		}
		digits, ok := strings.CutPrefix(strings.ToLower(s), prefix)
		digits = strings.ReplaceAll(digits, ":", "")
		if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size {
			return "", wrongf(hint, "%q is no SHA-256 fingerprint", s)
		}
		return prefix + digits, nil
	})
}

// tlsVersion is a version of TLS, of which none is below oldest.
func tlsVersion(oldest uint16) kind[uint16] {
	allowed := versionNames[oldest-tls.VersionTLS10:]
	return kind[uint16]{oneOf(allowed), func(c cell, v *uint16) { readVersion(c, v, allowed) }, func(v uint16) string { return quote(versionName(v)) }}
}

func readVersion(c cell, v *uint16, allowed []string) {
	hint := "write one of " + quoteAll(allowed)
	s, ok := c.entry.value.(string)
	if !ok {
		meant := versionName(*v)
		if n, ok := c.entry.value.(float64); ok && slices.Contains(allowed, strconv.FormatFloat(n, 'f', 1, 64)) {
			meant = strconv.FormatFloat(n, 'f', 1, 64)
		}
		c.wrongType("a string", strconv.Quote(meant))
		return
	}
	bare := strings.TrimLeft(strings.ToLower(s), "tlsv ") // TLSv1.2, TLS 1.2
	i := slices.Index(versionNames, bare)
	switch {
	case i < 0:
		c.fault(c.entry.line, wrongf(hint, "%q is no version of TLS", s))
	case !slices.Contains(allowed, bare):
		c.fault(c.entry.line, wrongf(hint, "%q is deprecated (RFC 8996) and allowed towards servers only", s))
	case bare != s:
		c.fault(c.entry.line, wrongf(fmt.Sprintf("write %q", bare), "%q is not written as a version", s))
	default:
		*v = tls.VersionTLS10 + uint16(i)
	}
}
