package config

// proxies reads what a frontend says about proxies in front of it.
func (t table) proxies(f *Frontend) {
	sound := t.boolean("proxy_protocol", &f.ProxyProtocol)
	f.DataProxyProtocol = f.ProxyProtocol
	sound = t.boolean("data_proxy_protocol", &f.DataProxyProtocol) && sound

	const key, hint = "trusted_proxies", `write trusted_proxies = ["10.0.0.2"] with the addresses or networks of yours`
	f.TrustedProxies = t.networks(key)
	e := t.entry.table[key]
	list, ok := []any(nil), false
	if e != nil {
		list, ok = e.value.([]any)
	}
	switch {
	case f.Proxied() && e == nil:
		on := "proxy_protocol"
		if !f.ProxyProtocol {
			on = "data_proxy_protocol"
		}
		t.faultAt(t.line(on), key, wrongf(hint, "is missing, and %s = true needs it: whoever is not in it is refused", on))
	case f.Proxied() && ok && len(list) == 0:
		t.faultAt(e.line, key, wrongf(hint, "the list is empty, so every connection would be refused"))
	case sound && !f.Proxied() && len(f.TrustedProxies) > 0:
		t.faultAt(e.line, key, wrongf("write proxy_protocol = true, too, or remove this key",
			"has no effect without proxy_protocol = true or data_proxy_protocol = true"))
	}
}
