package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// Proxied tells whether connections of clients come through proxies, which
// begin them with a PROXY header.
func (f *Frontend) Proxied() bool { return f.ProxyProtocol || f.DataProxyProtocol }

// DataBind is PassiveBind with its default: where control connections come
// through proxies, the wildcard addresses, because proxies need not connect to
// one address of ours for everything; otherwise the zero value, which is the
// address that the client's control connection reached.
func (f *Frontend) DataBind() PassiveBind {
	b := f.PassiveBind
	if !f.ProxyProtocol {
		return b
	}
	if !b.IPv4.IsValid() {
		b.IPv4 = netip.IPv4Unspecified()
	}
	if !b.IPv6.IsValid() {
		b.IPv6 = netip.IPv6Unspecified()
	}
	return b
}

// DataAddrs are the addresses at which passive data connections arrive: of each
// family on which the frontend listens, that of DataBind, or else those on which
// it listens. An unspecified one is every address of its family.
func (f *Frontend) DataAddrs() (all []netip.Addr) {
	bind := f.DataBind()
	for _, listen := range f.Listen {
		a, own := listen.Addr(), bind.IPv6
		if a.Is4() {
			own = bind.IPv4
		}
		if own.IsValid() {
			a = own
		}
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// listensOn tells whether the frontend listens on addresses of a family, 4 or 6.
func (f *Frontend) listensOn(family int) bool {
	return slices.ContainsFunc(f.Listen, func(a netip.AddrPort) bool { return a.Addr().Is4() == (family == 4) })
}

// proxiesRules reports what a frontend says about proxies in front of it that
// lets nobody in, or has no effect.
func (t table) proxiesRules(f *Frontend) {
	const key, hint = "trusted_proxies", `write trusted_proxies = ["10.0.0.2"] with the addresses or networks of yours`
	e := t.entry.table[key]
	if e == nil {
		if f.Proxied() {
			on := "proxy_protocol"
			if !f.ProxyProtocol {
				on = "data_proxy_protocol"
			}
			t.faultAt(t.line(on), key, wrongf(hint, "is missing, and %s = true needs it: whoever is not in it is refused", on))
		}
		return
	}
	list, ok := e.value.([]any)
	switch {
	case f.Proxied() && ok && len(list) == 0:
		t.faultAt(e.line, key, wrongf(hint, "the list is empty, so every connection would be refused"))
	case f.Proxied() && len(f.TrustedProxies) > 0 && len(f.Listen) > 0 && !f.reachable():
		t.faultAt(e.line, key, wrongf(hint, "holds no address of a family on which the frontend listens, so every connection would be refused"))
	case t.sound("proxy_protocol") && t.sound("data_proxy_protocol") && !f.Proxied() && len(f.TrustedProxies) > 0:
		t.faultAt(e.line, key, wrongf("write proxy_protocol = true, too, or remove this key",
			"has no effect without proxy_protocol = true or data_proxy_protocol = true"))
	}
}

// greetFirstRule reports a greeting before the PROXY header that has no text, or no
// header to wait for.
func (t table) greetFirstRule(f *Frontend) {
	const key = "proxy_header_after_greeting"
	if !f.ProxyHeaderAfterGreeting {
		return
	}
	for _, need := range []struct{ key, write string }{
		{"proxy_protocol", "proxy_protocol = true"}, {"banner", `banner = "FTP service"`},
	} {
		if t.sound(need.key) && !t.given(need.key) {
			t.faultAt(t.line(key), key, wrongf(fmt.Sprintf("write %s, too, or remove this key", need.write), "has no effect without %s", need.key))
		}
	}
}

// greetFirst warns of a greeting before the PROXY header where the client speaks first
// anyway, and of data connections on which nobody speaks before the header.
func (f *Frontend) greetFirst(warn func(key, message, hint string)) {
	if !f.ProxyHeaderAfterGreeting {
		return
	}
	if f.TLS.Mode == TLSImplicit {
		warn(f.path()+".proxy_header_after_greeting", `has no effect with implicit TLS, where the client speaks before the greeting`, "remove this key")
	}
	if f.DataProxyProtocol && !(f.TLS.Mode.On() && f.TLS.RequireData) {
		warn(f.path()+".data_proxy_protocol", "is true, but a client that downloads in the clear sends nothing, so a proxy that sends its header with the client's first bytes never sends it",
			"have the proxy keep the client's address on data ports and write data_proxy_protocol = false, or have it send its header at once (docs/proxy-protocol.md)")
	}
}

// reachable tells whether one of the trusted proxies can connect to the frontend.
func (f *Frontend) reachable() bool {
	return slices.ContainsFunc(f.TrustedProxies, func(p netip.Prefix) bool {
		return f.listensOn(4) && p.Addr().Is4() || f.listensOn(6) && p.Addr().Is6()
	})
}

// checkSharedProxies reports frontends that share data ports and do not agree on
// whose PROXY headers they believe there: a proxy that only one of them trusts
// could name clients of the other.
func (r *reader) checkSharedProxies(all []bindUse) {
	for i, b := range all {
		for _, a := range all[:i] {
			if !a.frontend.mistakes(b.frontend) || a.clashes(b) {
				continue
			}
			r.fault(r.lines[b.frontend.path()], b.frontend.path(), fmt.Sprintf("shares the ports %q with %s, but not whose PROXY headers begin data connections there",
				b.frontend.PassivePorts, place(a.frontend.path(), r.lines[a.frontend.path()])),
				"give both the same data_proxy_protocol and trusted_proxies, or other passive_ports to one of them")
			break
		}
	}
}

func (f *Frontend) path() string { return "frontend." + f.Name }

// sharesPorts tells whether the same port of the same address may be one of both.
func (f *Frontend) sharesPorts(o *Frontend) bool {
	return f.PassivePorts.Overlaps(o.PassivePorts) && slices.ContainsFunc(f.DataAddrs(), func(a netip.Addr) bool {
		return slices.ContainsFunc(o.DataAddrs(), func(b netip.Addr) bool { return sameOrWildcard(a, b) })
	})
}

// mistakes tells whether both share a port, and other headers, or none, begin the
// data connections of each. Lists that are not there were reported.
func (f *Frontend) mistakes(o *Frontend) bool {
	switch {
	case !f.DataProxyProtocol && !o.DataProxyProtocol:
		return false
	case f.DataProxyProtocol && len(f.TrustedProxies) == 0, o.DataProxyProtocol && len(o.TrustedProxies) == 0:
		return false
	case f.DataProxyProtocol == o.DataProxyProtocol && sameNetworks(f.TrustedProxies, o.TrustedProxies):
		return false
	}
	return f.sharesPorts(o)
}

// sameNetworks compares lists that hold nothing twice.
func sameNetworks(a, b []netip.Prefix) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p netip.Prefix) bool { return !slices.Contains(b, p) })
}
