package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ftproxy/internal/ftptest"
)

// serverTLS is how a server speaks TLS. The zero value is not at all.
type serverTLS struct {
	file     string // certificate and key
	implicit bool   // connections begin with it; otherwise AUTH TLS is possible
	strict   bool   // data connections must resume the TLS session of the control connection
	without3 bool   // ProFTPD has no TLS 1.3
	tickets  bool   // ProFTPD has TLSSessionTickets on
}

// vsftpd is that part of its configuration. The ciphers of its own choice are for
// RSA alone.
func (p serverTLS) vsftpd() string {
	if p.file == "" {
		return ""
	}
	yesno := map[bool]string{true: "YES", false: "NO"}
	return fmt.Sprintf(`ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=NO
force_anon_data_ssl=NO
ssl_tlsv1=YES
ssl_ciphers=HIGH
rsa_cert_file=%s
implicit_ssl=%s
require_ssl_reuse=%s
debug_ssl=YES
`, p.file, yesno[p.implicit], yesno[p.strict])
}

// proftpd is that part of its configuration: mod_tls insists on resumption unless
// it is told otherwise.
func (p serverTLS) proftpd(dir string) string {
	if p.file == "" {
		return ""
	}
	text := fmt.Sprintf(`LoadModule mod_tls.c
TLSEngine on
TLSProtocol TLSv1.2 TLSv1.3
TLSRequired off
TLSLog %s/tls.log
TLSECCertificateFile %s
TLSECCertificateKeyFile %[2]s
`, dir, p.file)
	var options string // of several lines the last would count
	if p.implicit {
		options += " UseImplicitSSL"
	}
	if !p.strict {
		options += " NoSessionReuseRequired"
	}
	if p.without3 {
		text = strings.Replace(text, " TLSv1.3", "", 1)
	}
	if p.tickets {
		text += "TLSSessionTickets on\n"
	}
	if options != "" {
		text += "TLSOptions" + options + "\n"
	}
	return text
}

// pureFTPd are its options. It has no implicit TLS, and does not insist on resumption.
func (p serverTLS) pureFTPd() []string {
	if p.file == "" {
		return nil
	}
	return []string{"-Y", "1", "-2", p.file}
}

// proftpdModules is a folder with the modules; mod_tls comes in a package of its own.
func proftpdModules(t *testing.T, program string, protected serverTLS) string {
	t.Helper()
	core := filepath.Join(filepath.Dir(program), "../lib/proftpd")
	if protected.file == "" {
		return core
	}
	dir := t.TempDir()
	for _, from := range []string{core, filepath.Dir(unpacked(t, "proftpd-mod-crypto", "usr/lib/proftpd/mod_tls.so"))} {
		modules, err := filepath.Glob(filepath.Join(from, "*.so"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range modules {
			if err := os.Symlink(m, filepath.Join(dir, filepath.Base(m))); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// startProtected runs one of the servers that have TLS.
func startProtected(t *testing.T, name string, addr netip.Addr, root string, protected serverTLS) *server {
	t.Helper()
	var s *server
	switch name {
	case "vsftpd":
		s = startVsftpdWith(t, addr, root, "", protected)
	case "proftpd":
		s = startProFTPDWith(t, netip.AddrPortFrom(addr, freePort(t, addr)), root, "", protected)
	case "pure-ftpd":
		s = startPureFTPdWith(t, addr, root, protected)
	default:
		t.Fatalf("no TLS for %s", name)
	}
	s.kind = serverNamed(name)
	return s
}

// clientTLS is how a client speaks TLS. The zero value is not at all.
type clientTLS struct {
	mode    string // "explicit" or "implicit"
	clear   bool   // data connections are not protected
	ca      string // the file that has it
	version string // "1.2" or "1.3" alone; "" is both
	resume  bool   // of ftplib: data connections resume, which it does not do by itself
}

func (p clientTLS) protects() bool { return p.mode != "" }

func (p clientTLS) scheme() string {
	if p.mode == "implicit" {
		return "ftps"
	}
	return "ftp"
}

// certificateFor is one that clients and ftproxy can verify at an address.
func certificateFor(t *testing.T, addrs ...netip.Addr) ftptest.TestCertificate {
	t.Helper()
	names := []string{"ftp.example.com"}
	for _, a := range addrs {
		names = append(names, a.String())
	}
	return ftptest.Certificate(t, names...)
}
