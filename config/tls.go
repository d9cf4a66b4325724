package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
)

// A TLSMode is how TLS begins on control connections. Its zero value is TLSOff.
type TLSMode string

// The modes of TLS. RFC 4217 knows the explicit ones, which begin with AUTH TLS;
// a connection with implicit TLS begins with the handshake, usually on port 990.
const (
	TLSOff      TLSMode = "off"
	TLSOptional TLSMode = "optional" // frontends: clients may send AUTH TLS
	TLSRequired TLSMode = "required" // frontends: clients must, before USER
	TLSExplicit TLSMode = "explicit" // backends: ftproxy sends AUTH TLS
	TLSImplicit TLSMode = "implicit"
)

// On tells whether there is TLS at all.
func (m TLSMode) On() bool { return m != "" && m != TLSOff }

// What clients must show of themselves.
const (
	certificateRequired = "required"
	certificateOptional = "optional"
)

// A SessionReuse is whether data connections of clients resume the TLS session of
// their control connection. Its zero value is ReuseOff.
type SessionReuse string

// What clients may do and must do.
const (
	ReuseOff     SessionReuse = "off"     // no data connection resumes a session
	ReuseOffer   SessionReuse = "offer"   // those that resume one must resume their own
	ReuseRequire SessionReuse = "require" // all must
)

// A TLSData is how data connections to servers with TLS are protected.
type TLSData string

// What servers are told of their data connections, PROT P or PROT C.
const (
	DataPrivate      TLSData = "private"
	DataClear        TLSData = "clear"
	DataSameAsClient TLSData = "same-as-client" // as the client told ftproxy
)

// Ciphers are the cipher suites that are allowed up to TLS 1.2.
type Ciphers string

// What one side allows.
const (
	CiphersDefault Ciphers = "default" // those of crypto/tls
	CiphersLegacy  Ciphers = "legacy"  // all that crypto/tls has, but RC4
)

// A KeyPair is where a certificate, with those that vouch for it, and its
// private key are: absolute paths of PEM files.
type KeyPair struct {
	Certificate string
	Key         string // Certificate where one file holds both
}

// A FrontendTLS is how clients are protected. With Mode off, only SessionReuse, Ciphers
// and the versions are not zero.
type FrontendTLS struct {
	Mode                   TLSMode      // off, optional, required or implicit
	Certificates           []KeyPair    // at least one unless Mode is off
	ClientCA               string       // absolute path of a PEM file; empty: no client certificates are asked for
	ClientCertificate      string       // "required" or "optional"; empty without ClientCA
	RequireData            bool         // no clear data connections
	SessionReuse           SessionReuse // whether data connections resume the TLS session of the control connection
	StrictEOF              bool         // an upload that ends without close_notify is an abort
	Ciphers                Ciphers
	MinVersion, MaxVersion uint16 // tls.VersionTLS12 or tls.VersionTLS13
}

// A BackendTLS is how servers are reached. With Mode off, only Data, Ciphers and the
// versions are not zero.
type BackendTLS struct {
	Mode                   TLSMode // off, explicit or implicit
	Data                   TLSData
	CA                     string  // absolute path of a PEM file; empty: the system's
	ServerName             string  // whom certificates are for; empty: the host as written in servers
	Fingerprint            string  // "sha256:" and 64 hexadecimal digits of the only certificate that servers may show; empty: any that ca has signed
	Certificate            KeyPair // of ftproxy as the client; zero: none
	InsecureSkipVerify     bool    // certificates are not checked
	StrictEOF              bool    // a download that ends without close_notify is an abort
	Ciphers                Ciphers
	MinVersion, MaxVersion uint16 // tls.VersionTLS10 to tls.VersionTLS13
}

// versionNames are what versions of TLS are called in the file, from
// tls.VersionTLS10 up.
var versionNames = []string{"1.0", "1.1", "1.2", "1.3"}

func versionName(v uint16) string { return versionNames[v-tls.VersionTLS10] }

// The ports of control connections with and without implicit TLS.
const (
	ftpPort  = 21
	ftpsPort = 990
)

// tlsWarnings warns of protection that is less than it seems, and of implicit
// TLS where the other end does not expect it.
func (c *Config) tlsWarnings(warn func(key, message, hint string)) {
	const weak = "allows RSA key exchange, CBC and 3DES: who gets the private key can read what was recorded before"
	for _, f := range c.Frontends {
		if f.TLS.Mode.On() && f.TLS.Ciphers == CiphersLegacy {
			warn("frontend."+f.Name+".tls.ciphers", weak, `write "default" as soon as no client needs more`)
		}
		if f.TLS.Mode.On() && f.TLS.SessionReuse == ReuseRequire && !f.TLS.RequireData {
			warn("frontend."+f.Name+".tls.session_reuse", "holds for data connections with TLS only, and clients may have others, which prove nothing",
				"write require_data = true, too")
		}
		for _, a := range f.Listen {
			if a.Port() == ftpsPort && f.TLS.Mode.On() && f.TLS.Mode != TLSImplicit {
				warn("frontend."+f.Name+".listen", fmt.Sprintf("%q has port %d, where clients expect implicit TLS", a, ftpsPort),
					fmt.Sprintf(`write mode = "implicit" in [frontend.%s.tls], or port %d`, f.Name, ftpPort))
				break
			}
			if f.TLS.Mode != TLSImplicit {
				continue
			}
			if a.Port() == ftpPort {
				warn("frontend."+f.Name+".listen", fmt.Sprintf("%q has port %d, where clients expect AUTH TLS; implicit TLS is on port %d", a, ftpPort, ftpsPort),
					fmt.Sprintf(`write port %d, or mode = "required" in [frontend.%s.tls]`, ftpsPort, f.Name))
				break // ":21" is two addresses
			}
		}
	}
	for _, b := range c.Backends {
		key := "backend." + b.Name
		if i := slices.IndexFunc(b.Servers, func(s Server) bool { return s.Port == ftpPort }); i >= 0 && b.TLS.Mode == TLSImplicit {
			warn(b.keyOf(b.Servers[i]), fmt.Sprintf("%q has port %d, where servers expect AUTH TLS; implicit TLS is on port %d", b.Servers[i], ftpPort, ftpsPort),
				fmt.Sprintf(`write %q, or mode = "explicit" in [%s.tls]`, Server{Host: b.Servers[i].Host, Port: ftpsPort}, key))
		}
		if i := slices.IndexFunc(b.Servers, func(s Server) bool { return s.Port == ftpsPort }); i >= 0 && b.TLS.Mode == TLSExplicit {
			warn(b.keyOf(b.Servers[i]), fmt.Sprintf("%q has port %d, where servers expect implicit TLS, and greet nobody before", b.Servers[i], ftpsPort),
				fmt.Sprintf(`write mode = "implicit" in [%s.tls], or port %d`, key, ftpPort))
		}
		if !b.TLS.Mode.On() {
			continue
		}
		if b.TLS.InsecureSkipVerify {
			warn(key+".tls.insecure_skip_verify", "whoever is between ftproxy and the servers can take their place, and read passwords",
				`write ca = "/etc/ftproxy/ca.pem" with the certificate of their CA, or their own, instead`)
		}
		if b.TLS.Ciphers == CiphersLegacy && cmp.Or(b.TLS.MinVersion, tls.VersionTLS12) >= tls.VersionTLS12 {
			warn(key+".tls.ciphers", weak, `write "default" as soon as the servers know better ones`)
		}
		if v := cmp.Or(b.TLS.MinVersion, tls.VersionTLS12); v < tls.VersionTLS12 {
			warn(key+".tls.min_version", fmt.Sprintf("TLS %s is deprecated (RFC 8996), because much of it is broken", versionName(v)), `write "1.2" as soon as all of the servers know it`)
		}
	}
}
