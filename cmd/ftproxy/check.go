package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"ftproxy/config"
	"ftproxy/internal/ftps"
)

// defaultConfig is where serve and check look.
const defaultConfig = "config.toml"

var checkCommand = command{
	name:    "check",
	summary: "check a configuration and say what it amounts to",
	usage:   "[-config FILE] | -explain KEY | -example",
	help: `Check reads a configuration, and the certificates and keys that it names, as
serve would, and opens nothing else. It prints every fault with its line and
what to write instead, and exits 1; or warnings, a summary and "ok", and
exits 0.

With -explain it prints what a key means, what may be written, its default and
the table that it stands in. With -example it prints a configuration that has
every key, explained and with its default. Both read no file.

Example:

  ftproxy check -config /etc/ftproxy/config.toml
  ftproxy check -explain passive_ports
  ftproxy check -explain frontend.tls.mode
  ftproxy check -example > config.toml
`,
	run: (*program).check,
}

func (p *program) check(ctx context.Context, c *command, args []string) int {
	f := c.flags()
	path := f.String("config", defaultConfig, "read the configuration from `FILE`")
	key := f.String("explain", "", "explain a `KEY` of the configuration, such as passive_ports, or a table")
	example := f.Bool("example", false, "print a configuration that has every key with its default")
	if code, ok := p.parse(c, f, args); !ok {
		return code
	}
	switch {
	case *example && *key != "":
		return p.misused("%s: choose one of -explain and -example", c.name)
	case *example:
		return p.print(config.Example())
	case *key != "":
		text, err := config.Explain(*key)
		if err != nil {
			return p.misused("%s: %v", c.name, err)
		}
		return p.print(text)
	}
	conf, ok := p.load(*path)
	if !ok {
		return exitFailed
	}
	looking, stop := context.WithTimeout(ctx, nameLimit)
	err := checkLocalLoops(conf, p.lookUpServers(looking))
	stop()
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return exitFailed
	}
	if _, err := ftps.Check(conf); err != nil {
		fmt.Fprintln(p.stderr, explain(conf, err))
		return exitFailed
	}
	for _, w := range p.warnings(conf) {
		fmt.Fprintf(p.stderr, "warning: %v\n", w)
	}
	summarise(p.stdout, conf)
	fmt.Fprintf(p.stdout, "%s: ok\n", *path)
	return exitOK
}

// print writes what a command was asked for.
func (p *program) print(text string) int {
	if _, err := io.WriteString(p.stdout, text); err != nil {
		return p.failed(err)
	}
	return exitOK
}

// load reads a configuration, or prints its faults, one per line, in the form
// that editors know: file:line: text.
func (p *program) load(path string) (c *config.Config, ok bool) {
	c, err := config.Load(path)
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return nil, false
	}
	p.runtimeDirectory.give(c)
	return c, true
}

// summarise says what the configuration amounts to, and what its port ranges allow.
func summarise(w io.Writer, c *config.Config) {
	var b bytes.Buffer
	for _, f := range c.Frontends {
		fmt.Fprintf(&b, "frontend %s: listens on %s; clients are told %s; backend %s\n",
			f.Name, join(f.Listen), publicAddress(f.PublicAddress), f.Backend)
		frontTLS(&b, f.TLS)
		if f.Proxied() {
			fmt.Fprintf(&b, "  clients come through proxies in %s (PROXY protocol on %s)\n", join(f.TrustedProxies), proxiedSides(f))
		}
		n := f.PassivePorts.Len()
		fmt.Fprintf(&b, "  passive_ports %s: %s = %d pending per client address\n",
			f.PassivePorts, count(n, "passive port"), n)
		for _, o := range f.PublicAddressFor {
			fmt.Fprintf(&b, "  clients of %s are told %s\n", o.Clients, publicAddress(o.PublicAddress))
		}
		limit(&b, "bandwidth", f.Bandwidth)
		limit(&b, "session_bandwidth", f.SessionBandwidth)
	}
	for _, s := range c.Backends {
		backServers(&b, s)
		if s.Data != config.DataClient {
			fmt.Fprintf(&b, "  data %s: servers are told %s, whatever clients say\n", s.Data, told[s.Data])
		}
		if n := s.DataPorts.Len(); !passive[s.Data] {
			per := "server"
			if s.Source.Client {
				per = "client address and server"
			}
			fmt.Fprintf(&b, "  data_ports %s: %s = %s per %s\n",
				s.DataPorts, count(n, "data port"), count(n, "simultaneous active transfer"), per)
		}
		if seen := seenAs(s.Source); seen != "" {
			fmt.Fprintf(&b, "  source %s\n", seen)
		}
		if s.SendProxy != "" {
			on := "control"
			if s.SendProxyData {
				on = "control and data"
			}
			fmt.Fprintf(&b, "  send_proxy %s: servers are told who the client is, on %s\n", s.SendProxy, on)
		}
		backTLS(&b, s.TLS)
		limit(&b, "bandwidth", s.Bandwidth)
	}
	if c.Admin.Listen.IsValid() {
		fmt.Fprintf(&b, "admin: http://%s/metrics, /healthz, /readyz\n", c.Admin.Listen)
	}
	_, _ = w.Write(b.Bytes())
}

// frontTLS says how clients are protected.
func frontTLS(b *bytes.Buffer, t config.FrontendTLS) {
	if t.Mode == "" || t.Mode == config.TLSOff {
		return
	}
	how := map[config.TLSMode]string{
		config.TLSOptional: "offered (AUTH TLS)", config.TLSRequired: "required (AUTH TLS)", config.TLSImplicit: "implicit",
	}[t.Mode]
	data := "PROT P or C"
	if t.RequireData {
		data = "PROT P only"
	}
	fmt.Fprintf(b, "  TLS %s, data %s", how, data)
	switch t.SessionReuse {
	case config.ReuseRequire:
		b.WriteString(", those with TLS must resume the session")
	case config.ReuseOffer:
		b.WriteString(", those with TLS may resume the session")
	}
	if t.ClientCA != "" {
		fmt.Fprintf(b, ", client certificates %s", t.ClientCertificate)
	}
	b.WriteByte('\n')
}

// backTLS says how servers are reached.
func backTLS(b *bytes.Buffer, t config.BackendTLS) {
	if t.Mode == "" || t.Mode == config.TLSOff {
		return
	}
	verified := "verified"
	if t.InsecureSkipVerify {
		verified = "NOT verified"
	}
	if t.Fingerprint != "" {
		verified = "verified by fingerprint"
	}
	fmt.Fprintf(b, "  TLS %s towards servers, data %s, certificates %s\n", t.Mode, t.Data, verified)
}

// seenAs is what the servers of a backend see as their client; "" where the kernel
// chooses.
func seenAs(s config.Source) string {
	var fixed []string
	for _, a := range []netip.Addr{s.IPv4, s.IPv6} {
		if a.IsValid() {
			fixed = append(fixed, a.String())
		}
	}
	switch {
	case s.Client && s.Own:
		return "client: servers see the client's own address, or this machine's where the client's is of another family; needs CAP_NET_RAW and routes (docs/transparent.md)"
	case s.Client:
		return "client: servers see the client's own address, and clients of another family are refused; needs CAP_NET_RAW and routes (docs/transparent.md)"
	case len(fixed) > 0:
		return strings.Join(fixed, ", ") + ": servers see this address"
	}
	return ""
}

// proxiedSides are the connections that begin with a PROXY header.
func proxiedSides(f config.Frontend) string {
	switch {
	case !f.DataProxyProtocol:
		return "control"
	case !f.ProxyProtocol:
		return "data"
	}
	return "control and data"
}

// told are the verbs that servers hear in each data mode; passive are the modes
// in which no server connects to ftproxy.
var (
	told = map[config.DataMode]string{
		config.DataPassive: "PASV or EPSV", config.DataPASV: "PASV", config.DataEPSV: "EPSV",
		config.DataActive: "PORT or EPRT", config.DataPORT: "PORT", config.DataEPRT: "EPRT",
	}
	passive = map[config.DataMode]bool{config.DataPassive: true, config.DataPASV: true, config.DataEPSV: true}
)

func limit(b *bytes.Buffer, key string, limit config.Bandwidth) {
	if limit > 0 {
		fmt.Fprintf(b, "  %s: %d bytes per second in each direction\n", key, limit)
	}
}

func publicAddress(a config.PublicAddress) string {
	if a.Auto {
		return "the address they reached"
	}
	var known []string
	if a.IPv4.IsValid() {
		known = append(known, a.IPv4.String())
	}
	if a.IPv6.IsValid() {
		known = append(known, a.IPv6.String())
	}
	return strings.Join(append(known, a.Hosts...), ", ")
}

func join[T fmt.Stringer](all []T) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = one.String()
	}
	return strings.Join(texts, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
