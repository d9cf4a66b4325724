package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// frontend reads [frontend.NAME] and notes in k what must be checked against
// the rest of the file.
func (t table) frontend(k *checks) Frontend {
	f := NewFrontend(t.entry.name)
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
	t.publicAddress(&f)
	if t.portRange("passive_ports", &f.PassivePorts) {
		k.ranges = append(k.ranges, t.portUse("passive_ports", f.PassivePorts))
	}
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

// publicAddress reads public_address: "auto", or one address of each family.
func (t table) publicAddress(f *Frontend) {
	const key = "public_address"
	given := t.texts(key, "auto")
	if t.entry.table[key] == nil {
		return
	}
	f.PublicAddress = PublicAddress{}
	sound := len(given) > 0
	for _, s := range given {
		if s.value == "auto" {
			if len(given) > 1 {
				sound = false
				t.faultAt(s.line, key, wrongf(`write "auto" alone, or the addresses without it`, `"auto" stands beside other addresses`))
			}
			f.PublicAddress.Auto = true
			continue
		}
		ip, w := parsePublic(s.value)
		if w != nil {
			sound = false
			t.faultAt(s.line, key, w)
			continue
		}
		family, place := "IPv6", &f.PublicAddress.IPv6
		if ip.Is4() {
			family, place = "IPv4", &f.PublicAddress.IPv4
		}
		if place.IsValid() {
			sound = false
			t.faultAt(s.line, key, wrongf(fmt.Sprintf("write one of %q and %q", *place, ip), "%q is a second %s address", s.value, family))
			continue
		}
		*place = ip
	}
	listensIPv4 := slices.ContainsFunc(f.Listen, func(a netip.AddrPort) bool { return a.Addr().Is4() })
	if sound && listensIPv4 && !f.PublicAddress.Auto && !f.PublicAddress.IPv4.IsValid() {
		t.faultAt(t.line(key), key, wrongf(`add the IPv4 address that clients reach, or write "auto"`,
			"has no IPv4 address, but the frontend listens on one and a 227 reply needs it"))
	}
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
