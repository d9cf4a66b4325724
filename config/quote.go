package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

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
