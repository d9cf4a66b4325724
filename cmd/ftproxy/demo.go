package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"ftproxy/config"
)

const (
	demoListen   = "127.0.0.1:2121"
	demoUser     = "demo"
	demoPassword = "demo"
	demoDrain    = 3 * time.Second // what a running transfer gets after Ctrl-C
)

var demoCommand = command{
	name:    "demo",
	summary: "show how it works: an FTP server and ftproxy, nothing to install",
	usage:   "[-listen ADDRESS]",
	help: `Demo runs a small FTP server and ftproxy in front of it, both on loopback and
both in this process. It prints curl lines to paste into another terminal, and
then what happens, one line per event. Files live in memory. Ctrl-C ends it.

The server behaves like one on an inside network: the address in its replies to
PASV is one that no client can reach. Through ftproxy it works all the same.
It has no TLS either; ftproxy offers it, with a certificate made at the start.

Example:

  ftproxy demo
  ftproxy demo -listen 127.0.0.1:2100
`,
	run: (*program).demo,
}

func (p *program) demo(ctx context.Context, c *command, args []string) int {
	f := c.flags()
	listen := f.String("listen", "", "listen on `ADDRESS`, a loopback one (default "+demoListen+", or if it is taken another port)")
	if code, ok := p.parse(c, f, args); !ok {
		return code
	}
	address, err := demoAddress(*listen)
	if err != nil {
		return p.misused("demo: %v", err)
	}
	server, err := startDemoServer()
	if err != nil {
		return p.failed(fmt.Errorf("demo: the FTP server: %w", err))
	}
	defer server.Close()

	certificate, err := newDemoCertificate(address.Addr())
	if err != nil {
		return p.failed(fmt.Errorf("demo: %w", err))
	}
	defer certificate.remove()

	log := zerolog.New(&eventWriter{out: p.stdout}).Level(zerolog.InfoLevel)
	s := newService(log)
	err = s.start(demoConfig(address, server.Addr(), certificate))
	if errors.Is(err, syscall.EADDRINUSE) && *listen == "" {
		address = netip.AddrPortFrom(address.Addr(), 0)
		s = newService(log)
		err = s.start(demoConfig(address, server.Addr(), certificate))
	}
	if err != nil {
		var failed *listenError
		if errors.As(err, &failed) {
			failed.what, failed.key = "demo", "-listen" // there is no configuration to change
		}
		return p.failed(err)
	}
	open, err := s.listens(address)
	if err != nil {
		return p.failed(err)
	}
	printDemo(p.stdout, open, server.Addr(), uploadFile(), certificate.certificate)
	if _, err := s.untilStopped(ctx, p.signals); err != nil {
		return p.failed(err)
	}
	return exitOK
}

// demoAddress is where to listen. The password is known to all, so it is
// nowhere that others could reach.
func demoAddress(listen string) (netip.AddrPort, error) {
	if listen == "" {
		listen = demoListen
	}
	address, err := netip.ParseAddrPort(listen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("-listen %q is not an address and port; write for example -listen %s", listen, demoListen)
	}
	if !address.Addr().IsLoopback() {
		return netip.AddrPort{}, fmt.Errorf("-listen %s is not on loopback, and the demo's password is no secret; write for example -listen %s", listen, demoListen)
	}
	return address, nil
}

func demoConfig(listen, server netip.AddrPort, certificate *demoCertificate) *config.Config {
	c := config.Defaults()
	c.Timeouts.Drain = demoDrain
	frontend := config.NewFrontend("demo")
	frontend.Listen = []netip.AddrPort{listen}
	frontend.Backend = "demo"
	frontend.TLS.Mode = config.TLSOptional
	frontend.TLS.Certificates = []config.KeyPair{{Certificate: certificate.certificate, Key: certificate.key}}
	backend := config.NewBackend("demo")
	backend.Servers = []config.Server{{Host: server.Addr().String(), Port: server.Port()}}
	c.Frontends = []config.Frontend{frontend}
	c.Backends = []config.Backend{backend}
	return &c
}

// uploadFile is a file to upload that this machine has, whatever the directory
// of the terminal that the line is pasted into.
func uploadFile() string {
	for _, path := range []string{"/etc/hosts", "/etc/passwd"} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			return path
		}
	}
	return executable()
}

// printDemo prints the box and what to paste. The URLs hold an address and no
// name, so that nothing depends on how this machine resolves localhost.
func printDemo(w io.Writer, listen, server netip.AddrPort, upload, certificate string) {
	var b strings.Builder
	box(&b,
		"ftproxy demo",
		"",
		"address   ftp://"+listen.String(),
		"user      "+demoUser,
		"password  "+demoPassword,
		"",
		fmt.Sprintf("client → ftproxy %s → FTP server %s", listen, server),
		fmt.Sprintf("the server says %s in its 227; clients never see it", demoInside),
	)
	url := func(path string) string {
		return shellQuote(fmt.Sprintf("ftp://%s:%s@%s%s", demoUser, demoPassword, listen, path))
	}
	client := listen.Addr() // of the curl that runs here
	file := shellQuote(upload)
	for _, try := range []struct{ what, line string }{
		{"List, passive mode (EPSV):", "curl -sS " + url("/")},
		{"Download, passive mode (PASV, where the server writes its own address):", "curl -sS --disable-epsv " + url("/pub/hello.txt")},
		{"Upload, passive mode:", fmt.Sprintf("curl -sS -T %s %s", file, url("/upload/passive.txt"))},
		{"Download, active mode (the server connects to ftproxy, ftproxy to curl):", fmt.Sprintf("curl -sS -P %s %s", client, url("/pub/hello.txt"))},
		{"Upload, active mode:", fmt.Sprintf("curl -sS -P %s -T %s %s", client, file, url("/upload/active.txt"))},
		{"Download with TLS (FTPS; the server has none, and ftproxy a certificate of its own):",
			fmt.Sprintf("curl -sS --ssl-reqd --cacert %s %s", shellQuote(certificate), url("/pub/hello.txt"))},
		{"The same with lftp, if you have it:", fmt.Sprintf("lftp -e %s -u %s,%s %s",
			shellQuote(fmt.Sprintf("set ssl:ca-file %s; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; cat /pub/hello.txt; bye", certificate)),
			demoUser, demoPassword, shellQuote("ftp://"+listen.String()))},
		{"See what was uploaded:", "curl -sS " + url("/upload/")},
	} {
		fmt.Fprintf(&b, "\n%s\n%s\n", try.what, try.line)
	}
	b.WriteString("\nPaste a line into another terminal. Ctrl-C ends the demo.\n\n")
	_, _ = io.WriteString(w, b.String())
}

// box draws a frame around lines.
func box(b *strings.Builder, lines ...string) {
	width := 0
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l))
	}
	edge := strings.Repeat("─", width+2)
	fmt.Fprintf(b, "┌%s┐\n", edge)
	for _, l := range lines {
		fmt.Fprintf(b, "│ %s%s │\n", l, strings.Repeat(" ", width-utf8.RuneCountInString(l)))
	}
	fmt.Fprintf(b, "└%s┘\n", edge)
}

// shellQuote makes one word of text for a POSIX shell.
func shellQuote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@", r)
	}
	if text != "" && strings.TrimLeftFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
