package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// frontend reads [frontend.NAME] and notes in k what must be checked against
// the rest of the file.
func (t table) frontend(k *checks) *Frontend {
	f := new(NewFrontend(t.entry.name))
	for _, s := range t.texts("listen", ":21") {
		addrs, w := parseListen(s.value, "21")
		if w != nil {
			t.faultAt(s.line, "listen", w)
			continue
		}
		for _, addr := range addrs {
			f.Listen = append(f.Listen, addr)
			k.listeners = append(k.listeners, listener{addr: addr, key: t.entry.path + ".listen", line: s.line})
		}
	}
	if t.entry.table["listen"] == nil {
		t.faultAt(t.entry.line, "listen", wrongf(`write listen = ":21"`, "is missing"))
	}
	t.proxies(f)
	if t.portRange("passive_ports", &f.PassivePorts) {
		k.ranges = append(k.ranges, t.portUse("passive_ports", f.PassivePorts))
	}
	t.addresses(f, k)
	f.TLS = t.inner("tls").frontendTLS()
	if s, ok := t.text("backend", "NAME"); ok {
		f.Backend = s.value
		k.routes = append(k.routes, route{name: s.value, key: t.entry.path + ".backend", line: s.line})
	} else if t.entry.table["backend"] == nil {
		k.routes = append(k.routes, route{missing: true, key: t.entry.path + ".backend", line: t.entry.line})
	}
	if s, ok := t.text("banner", "Welcome"); ok {
		banner, w := parseBanner(s.value)
		if w != nil {
			t.faultAt(s.line, "banner", w)
		}
		f.Banner = banner
	}
	return f
}

// backend reads [backend.NAME].
func (t table) backend(k *checks) Backend {
	b := NewBackend(t.entry.name)
	k.backends = append(k.backends, b.Name)
	for _, s := range t.texts("servers", "10.0.0.5:21") {
		server, w := parseServer(s.value)
		if w == nil && slices.Contains(b.Servers, server) {
			w = wrongf("write each server once", "%q is named twice", server)
		}
		if w != nil {
			t.faultAt(s.line, "servers", w)
			continue
		}
		b.Servers = append(b.Servers, server)
		k.servers = append(k.servers, serverUse{server: server, key: t.entry.path + ".servers", line: s.line})
	}
	if t.entry.table["servers"] == nil {
		t.faultAt(t.entry.line, "servers", wrongf(`write servers = ["10.0.0.5:21"] with the addresses of yours`, "is missing"))
	}
	t.dataMode(&b)
	b.TrustDataAddress = t.networks("trust_data_address")
	t.source(&b)
	t.choice("send_proxy", &b.SendProxy, "", "v1", "v2")
	version := t.entry.table["send_proxy"]
	if t.boolean("send_proxy_data", &b.SendProxyData) && b.SendProxyData && (version == nil || version.value == "") {
		t.faultAt(t.line("send_proxy_data"), "send_proxy_data", wrongf(`write send_proxy = "v2", too, or remove this key`, "has no effect without send_proxy"))
	}
	b.Bandwidth = t.bandwidth("bandwidth")
	b.TLS = t.inner("tls").backendTLS()
	if t.portRange("data_ports", &b.DataPorts) {
		if b.DataPorts.First < firstUnprivileged {
			t.faultAt(t.line("data_ports"), "data_ports", wrongf(fmt.Sprintf("write ports from %d up", firstUnprivileged),
				"%q holds ports below %d, which servers refuse to connect to (RFC 2577 section 3)", b.DataPorts, firstUnprivileged))
		} else {
			k.ranges = append(k.ranges, t.portUse("data_ports", b.DataPorts))
		}
	}
	return b
}

// dataMode reads data. A verb that holds an IPv4 address is of no use to a
// server with an IPv6 one.
func (t table) dataMode(b *Backend) {
	mode := string(b.Data)
	t.choice("data", &mode, dataModes...)
	if b.Data = DataMode(mode); !b.Data.OnlyIPv4() {
		return
	}
	general := DataPassive
	if b.Data == DataPORT {
		general = DataActive
	}
	for _, s := range b.Servers {
		if ip, err := netip.ParseAddr(s.Host); err == nil && ip.Is6() {
			t.faultAt(t.line("data"), "data", wrongf(fmt.Sprintf("write %q", general),
				"%q is for IPv4, but the server %q has an IPv6 address", mode, s))
			return
		}
	}
}

// firstUnprivileged is the first port that needs no privilege to bind.
const firstUnprivileged = 1024

func (t table) portUse(key string, r PortRange) portUse {
	written := t.entry.table[key] != nil
	return portUse{ports: r, key: t.entry.path + "." + key, line: t.line(key), written: written}
}
