package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A setting is one key of a table with its value as TOML, written in the one
// way that all equal values have.
type setting struct{ key, value string }

// tables returns every table with all of its keys, by its path. The keys are
// those of schema, in its order.
func (c *Config) tables() map[string][]setting {
	d := c.Timeouts
	tables := map[string][]setting{
		"log": {
			{"level", quote(c.Log.Level)},
			{"format", quote(c.Log.Format)},
		},
		"admin": {
			{"listen", optional(c.Admin.Listen)},
		},
		"control": {
			{"socket", quote(c.Control.Socket)},
		},
		"timeouts": {
			{"connect", quoteTime(d.Connect)},
			{"greeting", quoteTime(d.Greeting)},
			{"login", quoteTime(d.Login)},
			{"idle", quoteTime(d.Idle)},
			{"reply", quoteTime(d.Reply)},
			{"final_reply", quoteTime(d.FinalReply)},
			{"port_wait", quoteTime(d.PortWait)},
			{"data_connect", quoteTime(d.DataConnect)},
			{"data_stall", quoteTime(d.DataStall)},
			{"client_write", quoteTime(d.ClientWrite)},
			{"proxy_header", quoteTime(d.ProxyHeader)},
			{"tls_handshake", quoteTime(d.TLSHandshake)},
			{"linger", quoteTime(d.Linger)},
			{"shutdown_delay", quoteTime(d.ShutdownDelay)},
			{"drain", quoteTime(d.Drain)},
		},
		"limits": {
			{"sessions", strconv.Itoa(c.Limits.Sessions)},
			{"sessions_per_client", strconv.Itoa(c.Limits.SessionsPerClient)},
			{"transfers", strconv.Itoa(c.Limits.Transfers)},
		},
	}
	for i := range c.Frontends {
		tables["frontend."+c.Frontends[i].Name] = c.Frontends[i].settings()
		tables["frontend."+c.Frontends[i].Name+".tls"] = c.Frontends[i].TLS.settings()
	}
	for i := range c.Backends {
		tables["backend."+c.Backends[i].Name] = c.Backends[i].settings()
		tables["backend."+c.Backends[i].Name+".tls"] = c.Backends[i].TLS.settings()
	}
	return tables
}

func (f *Frontend) settings() []setting {
	return []setting{
		{"listen", quoteListen(f.Listen)},
		{"proxy_protocol", strconv.FormatBool(f.ProxyProtocol)},
		{"data_proxy_protocol", strconv.FormatBool(f.DataProxyProtocol)},
		{"trusted_proxies", quoteNetworks(f.TrustedProxies)},
		{"public_address", f.PublicAddress.quote()},
		{"public_address_for", quoteOverrides(f.PublicAddressFor)},
		{"advertised_port_offset", strconv.Itoa(f.AdvertisedPortOffset)},
		{"passive_ports", quote(f.PassivePorts.String())},
		{"passive_bind", f.PassiveBind.quote()},
		{"data_peer", f.DataPeer.quote()},
		{"active_source_ports", quoteList(f.ActiveSourcePorts)},
		{"allow_foreign_data", quoteNetworks(f.AllowForeignData)},
		{"bandwidth", quote(f.Bandwidth.String())},
		{"session_bandwidth", quote(f.SessionBandwidth.String())},
		{"backend", quote(f.Backend)},
		{"banner", quote(f.Banner)},
	}
}

func (b *Backend) settings() []setting {
	return []setting{
		{"servers", quoteList(b.Servers)},
		{"data", quote(string(cmp.Or(b.Data, DataClient)))},
		{"data_ports", quote(b.DataPorts.String())},
		{"trust_data_address", quoteNetworks(b.TrustDataAddress)},
		{"source", b.Source.quote()},
		{"source_other_family", quote(b.Source.otherFamily())},
		{"send_proxy", quote(b.SendProxy)},
		{"send_proxy_data", strconv.FormatBool(b.SendProxyData)},
		{"bandwidth", quote(b.Bandwidth.String())},
	}
}

func (f *FrontendTLS) settings() []setting {
	var certificates, keys []string
	apart := false
	for _, p := range f.Certificates {
		certificates = append(certificates, quote(p.Certificate))
		keys = append(keys, quote(p.Key))
		apart = apart || p.Key != p.Certificate
	}
	if !apart {
		keys = nil
	}
	return []setting{
		{"mode", quote(string(cmp.Or(f.Mode, TLSOff)))},
		{"certificate", list(certificates)},
		{"key", list(keys)},
		{"client_ca", quote(f.ClientCA)},
		{"client_certificate", quote(f.ClientCertificate)},
		{"require_data", strconv.FormatBool(f.RequireData)},
		{"require_session_reuse", strconv.FormatBool(f.RequireSessionReuse)},
		{"strict_eof", strconv.FormatBool(f.StrictEOF)},
		{"min_version", quote(versionName(cmp.Or(f.MinVersion, tls.VersionTLS12)))},
		{"max_version", quote(versionName(cmp.Or(f.MaxVersion, tls.VersionTLS13)))},
	}
}

func (b *BackendTLS) settings() []setting {
	key := b.Certificate.Key
	if key == b.Certificate.Certificate {
		key = ""
	}
	return []setting{
		{"mode", quote(string(cmp.Or(b.Mode, TLSOff)))},
		{"data", quote(string(cmp.Or(b.Data, DataPrivate)))},
		{"ca", quote(b.CA)},
		{"server_name", quote(b.ServerName)},
		{"certificate", quote(b.Certificate.Certificate)},
		{"key", quote(key)},
		{"insecure_skip_verify", strconv.FormatBool(b.InsecureSkipVerify)},
		{"strict_eof", strconv.FormatBool(b.StrictEOF)},
		{"min_version", quote(versionName(cmp.Or(b.MinVersion, tls.VersionTLS12)))},
		{"max_version", quote(versionName(cmp.Or(b.MaxVersion, tls.VersionTLS13)))},
	}
}

// quote returns s as a TOML string of printable characters on one line.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, c)
		default:
			fmt.Fprintf(&b, `\u%04X`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteTime(d time.Duration) string { return quote(shortTime(d)) }

// optional returns an address, or "" for the zero value.
func optional(a netip.AddrPort) string {
	if !a.IsValid() {
		return `""`
	}
	return quote(a.String())
}

// quoteList returns a TOML list of strings.
func quoteList[T fmt.Stringer](all []T) string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = quote(v.String())
	}
	return list(texts)
}

// list returns a TOML list of values.
func list(values []string) string { return "[" + strings.Join(values, ", ") + "]" }

// quoteAny returns the value of a key that is usually one word: a list if
// there are several, and without where there is none.
func quoteAny(all []string, without string) string {
	switch len(all) {
	case 0:
		return quote(without)
	case 1:
		return quote(all[0])
	}
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = quote(v)
	}
	return list(texts)
}

// quoteNetworks returns networks in order: theirs in the file has no meaning.
func quoteNetworks(all []netip.Prefix) string {
	all = slices.Clone(all)
	slices.SortFunc(all, netip.Prefix.Compare)
	return quoteList(all)
}

// quoteListen returns addresses in order, both wildcard addresses of a port
// together as ":PORT".
func quoteListen(all []netip.AddrPort) string {
	all = slices.Clone(all)
	slices.SortFunc(all, netip.AddrPort.Compare)
	v4 := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }
	v6 := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Unspecified(), port) }
	var texts []string
	for _, a := range all {
		switch port := a.Port(); {
		case a == v4(port) && slices.Contains(all, v6(port)):
			texts = append(texts, quote(fmt.Sprintf(":%d", port)))
		case a == v6(port) && slices.Contains(all, v4(port)):
		default:
			texts = append(texts, quote(a.String()))
		}
	}
	return list(texts)
}

func quoteOverrides(all []PublicOverride) string {
	keys := make([]string, len(all))
	for i, o := range all {
		keys[i] = quote(o.Clients.String()) + " = " + o.PublicAddress.quote()
	}
	return inlineTable(keys)
}

// inlineTable returns a TOML table of keys with their values.
func inlineTable(keys []string) string {
	if len(keys) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(keys, ", ") + " }"
}

func (p PublicAddress) quote() string {
	if p.Auto {
		return `"auto"`
	}
	return quoteAny(append(valid(p.IPv4, p.IPv6), p.Hosts...), "")
}

func (b PassiveBind) quote() string { return quoteAny(valid(b.IPv4, b.IPv6), "") }

func (s Source) quote() string {
	if s.Client {
		return quote(sourceClient)
	}
	return quoteAny(valid(s.IPv4, s.IPv6), "")
}

func (s Source) otherFamily() string {
	if s.Own {
		return sourceOwn
	}
	return sourceRefuse
}

func (d DataPeer) quote() string {
	var lengths []string
	for _, n := range []int{d.IPv4, d.IPv6} {
		if n != 0 {
			lengths = append(lengths, "/"+strconv.Itoa(n))
		}
	}
	return quoteAny(lengths, "exact")
}

// valid returns the texts of those that are no zero values.
func valid(all ...netip.Addr) (texts []string) {
	for _, a := range all {
		if a.IsValid() {
			texts = append(texts, a.String())
		}
	}
	return texts
}
