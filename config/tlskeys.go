package config

import (
	"crypto/tls"
	"slices"
)

var frontendTLSKeys = section[FrontendTLS]{
	path:  "frontend.NAME.tls",
	help:  `TLS towards these clients (FTPS).`,
	rules: frontendTLSRules,
	rows: []row[FrontendTLS]{{
		name: "mode",
		value: sparse(tlsMode("required", map[string]string{
			"explicit": `write "required" where every client must send AUTH TLS, or "optional"`,
		}, TLSOff, TLSOptional, TLSRequired, TLSImplicit), TLSOff, func(f *FrontendTLS) *TLSMode { return &f.Mode }),
		help: `When TLS begins. "off": never. "optional": clients may begin it with AUTH TLS. "required":
			they must, before they log in. "implicit": connections begin with TLS, which clients expect on
			port 990.`,
	}, {
		name: "certificate",
		value: value[FrontendTLS]{
			kind:   "an absolute path, or a list of them",
			preset: func(f *FrontendTLS) { f.Certificates = nil },
			read:   cell.certificates,
			print:  (*FrontendTLS).quoteCertificates,
		},
		help: `The certificate, followed by those between it and its CA: the absolute path of a PEM file,
			or a list of several. Clients get the first one that has the name they ask for, or else the
			first of the list. Every mode but "off" needs one.`,
	}, {
		name: "key",
		value: value[FrontendTLS]{
			kind: "an absolute path, or a list of them",
			preset: func(f *FrontendTLS) {
				f.Certificates = slices.Clone(f.Certificates)
				for i := range f.Certificates {
					f.Certificates[i].Key = f.Certificates[i].Certificate
				}
			},
			read:  cell.keys,
			print: (*FrontendTLS).quoteKeys,
		},
		help: `The private keys: one for each certificate, in the same order. If none is written, each is
			in the file of its certificate.`,
	}, {
		name:  "client_ca",
		value: field(pem, "", func(f *FrontendTLS) *string { return &f.ClientCA }),
		help: `The CAs that sign the certificates of clients: the absolute path of a PEM file. ftproxy then
			asks clients for a certificate. "" asks for none.`,
	}, {
		name: "client_certificate",
		value: field(words("", certificateRequired, certificateOptional), "", func(f *FrontendTLS) *string { return &f.ClientCertificate }).
			follows((*FrontendTLS).presetClientCertificate),
		help: `Whether clients must show a certificate that client_ca has signed: "required" or
			"optional". If this key is not written, it is "required" with client_ca.`,
	}, {
		name: "require_data",
		value: field(boolean, false, func(f *FrontendTLS) *bool { return &f.RequireData }).
			follows(func(f *FrontendTLS) { f.RequireData = f.Mode == TLSRequired || f.Mode == TLSImplicit }),
		help: `Whether data connections must have TLS, too (PROT P). If this key is not written, it is true with
			mode "required" or "implicit".`,
	}, {
		name:  "session_reuse",
		old:   "require_session_reuse",
		value: sparse(sessionReuse, ReuseOff, func(f *FrontendTLS) *SessionReuse { return &f.SessionReuse }),
		help: `Whether data connections resume the TLS session of their control connection. "off": none does, and
			ftproxy takes the first connection from the client's address for the client's. "offer": those that
			resume must resume their own session; others are treated as with "off". FileZilla then warns no
			more. "require": all must. This proves whose they are, so sessions of one client address never wait
			for each other's ports. Not all clients can resume: see docs/tls.md. If uploads of a client end in
			an error with "require", write max_version = "1.2". true is "require", and false is "off".`,
	}, {
		name:  "strict_eof",
		value: field(boolean, false, func(f *FrontendTLS) *bool { return &f.StrictEOF }),
		help: `Whether an upload that ends without TLS's close_notify is treated as aborted, because it may
			have been cut. Some clients never send close_notify.`,
	}, {
		name:  "min_version",
		value: sparse(tlsVersion(tls.VersionTLS12), tls.VersionTLS12, func(f *FrontendTLS) *uint16 { return &f.MinVersion }),
		help:  `The oldest version of TLS: "1.2" or "1.3".`,
	}, {
		name:  "max_version",
		value: sparse(tlsVersion(tls.VersionTLS12), tls.VersionTLS13, func(f *FrontendTLS) *uint16 { return &f.MaxVersion }),
		help:  `The newest version of TLS: "1.2" or "1.3".`,
	}, {
		name:  "ciphers",
		value: sparse(words(CiphersDefault, CiphersLegacy), CiphersDefault, func(f *FrontendTLS) *Ciphers { return &f.Ciphers }),
		help: `Which cipher suites clients may use with TLS 1.2. "default": those without known weaknesses. "legacy":
			RSA key exchange, CBC and 3DES, too, for old clients.`,
	}},
}

// presetClientCertificate sets what client_certificate is where it is not written.
func (f *FrontendTLS) presetClientCertificate() {
	f.ClientCertificate = ""
	if f.ClientCA != "" && f.Mode.On() {
		f.ClientCertificate = certificateRequired
	}
}

var backendTLSKeys = section[BackendTLS]{
	path:  "backend.NAME.tls",
	help:  `TLS towards these servers (FTPS), whatever clients do.`,
	rules: backendTLSRules,
	rows: []row[BackendTLS]{{
		name: "mode",
		value: sparse(tlsMode("explicit", map[string]string{
			"required": `write "explicit" for AUTH TLS, without which ftproxy does not log in`,
			"optional": `write "explicit" for AUTH TLS, without which ftproxy does not log in`,
		}, TLSOff, TLSExplicit, TLSImplicit), TLSOff, func(b *BackendTLS) *TLSMode { return &b.Mode }),
		help: `When TLS begins. "off": never. "explicit": ftproxy sends AUTH TLS, and does not log in
			without TLS. "implicit": connections begin with TLS; write port 990 in servers.`,
	}, {
		name:  "data",
		value: sparse(words(DataPrivate, DataClear, DataSameAsClient), DataPrivate, func(b *BackendTLS) *TLSData { return &b.Data }),
		help: `Whether data connections have TLS. "private": they do (PROT P). "clear": they do not
			(PROT C). "same-as-client": if the client's data connection does.`,
	}, {
		name:  "ca",
		value: field(pem, "", func(b *BackendTLS) *string { return &b.CA }),
		help: `The CAs that sign the certificates of the servers: the absolute path of a PEM file. "" is
			those that the system trusts.`,
	}, {
		name:  "server_name",
		value: field(serverName, "", func(b *BackendTLS) *string { return &b.ServerName }),
		help: `The host name that the certificates of all servers must have. "" is the host as it is
			written in servers.`,
	}, {
		name:  "fingerprint",
		value: field(fingerprint, "", func(b *BackendTLS) *string { return &b.Fingerprint }),
		help: `The SHA-256 fingerprint of the one certificate that ftproxy accepts from the servers, whatever its
			name, its dates and its CA are, for example "sha256:" and 64 hexadecimal digits. "" is none. See
			docs/tls.md for how to get it.`,
	}, {
		name:  "certificate",
		value: field(pem, "", func(b *BackendTLS) *string { return &b.Certificate.Certificate }),
		help: `The certificate that ftproxy shows to servers that ask for one: the absolute path of a PEM
			file. "" is none.`,
	}, {
		name: "key",
		value: value[BackendTLS]{
			kind:   pem.name,
			preset: func(b *BackendTLS) { b.Certificate.Key = b.Certificate.Certificate },
			read:   func(c cell, b *BackendTLS) { c.pem(&b.Certificate.Key) },
			print: func(b *BackendTLS) string {
				if b.Certificate.Key == b.Certificate.Certificate {
					return quote("")
				}
				return quote(b.Certificate.Key)
			},
		},
		help: `The private key of the certificate: the absolute path of a PEM file. If this key is not written,
			it is in the file of the certificate.`,
	}, {
		name:  "insecure_skip_verify",
		value: field(boolean, false, func(b *BackendTLS) *bool { return &b.InsecureSkipVerify }),
		help: `Whether ftproxy accepts any certificate from a server. Whoever is between the servers and
			ftproxy can then read all passwords. For a server that signed its own certificate, write that
			certificate as ca instead.`,
	}, {
		name:  "strict_eof",
		value: field(boolean, false, func(b *BackendTLS) *bool { return &b.StrictEOF }),
		help: `Whether a download that ends without TLS's close_notify is treated as aborted, because it
			may have been cut. Some servers never send close_notify.`,
	}, {
		name:  "min_version",
		value: sparse(tlsVersion(tls.VersionTLS10), tls.VersionTLS12, func(b *BackendTLS) *uint16 { return &b.MinVersion }),
		help: `The oldest version of TLS: "1.0", "1.1", "1.2" or "1.3". "1.0" and "1.1" are deprecated: use
			them for old servers only.`,
	}, {
		name:  "max_version",
		value: sparse(tlsVersion(tls.VersionTLS10), tls.VersionTLS13, func(b *BackendTLS) *uint16 { return &b.MaxVersion }),
		help:  `The newest version of TLS: "1.0", "1.1", "1.2" or "1.3".`,
	}, {
		name:  "ciphers",
		value: sparse(words(CiphersDefault, CiphersLegacy), CiphersDefault, func(b *BackendTLS) *Ciphers { return &b.Ciphers }),
		help: `Which cipher suites servers may use up to TLS 1.2. "default": those without known weaknesses. "legacy":
			RSA key exchange, CBC and 3DES, too, for old servers. With min_version "1.0" or "1.1" it is
			always "legacy".`,
	}},
}

// quoteCertificates returns the files of the certificates, as the key has them.
func (f *FrontendTLS) quoteCertificates() string {
	var files []string
	for _, p := range f.Certificates {
		files = append(files, quote(p.Certificate))
	}
	return list(files)
}

// quoteKeys returns the files of the private keys; none if all are in those of
// their certificates.
func (f *FrontendTLS) quoteKeys() string {
	var files []string
	apart := false
	for _, p := range f.Certificates {
		files = append(files, quote(p.Key))
		apart = apart || p.Key != p.Certificate
	}
	if !apart {
		return list(nil)
	}
	return list(files)
}
