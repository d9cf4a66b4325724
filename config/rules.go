package config

import (
	"fmt"
	"net/netip"
)

// frontendRules reports keys of a frontend that are wrong beside each other, and
// notes what must be checked against the rest of the file.
func frontendRules(_ *section[Frontend], t table, f *Frontend) {
	t.proxiesRules(f)
	t.greetFirstRule(f)
	t.portOffsetRule(f)
	path := t.entry.path
	if t.entry.table["backend"] == nil {
		t.checks.routes = append(t.checks.routes, route{missing: true, key: path + ".backend", line: t.entry.line})
	}
	if f.CloseWhenDown {
		t.checks.closing = append(t.checks.closing, route{name: f.Backend, key: path + ".close_when_down", line: t.line("close_when_down")})
	}
	if t.sound("passive_ports") {
		t.checks.ranges = append(t.checks.ranges, t.portUse("passive_ports", f.PassivePorts))
	}
	t.checks.binds = append(t.checks.binds, bindUse{frontend: f, key: path + ".passive_bind", line: t.line("passive_bind")})
}

const maxPort = 65535

// portOffsetRule reports an offset with which a port of the range would be none.
func (t table) portOffsetRule(f *Frontend) {
	const key = "advertised_port_offset"
	first, last := int(f.PassivePorts.First)+f.AdvertisedPortOffset, int(f.PassivePorts.Last)+f.AdvertisedPortOffset
	if first < 1 || last > maxPort {
		t.faultAt(t.line(key), key, wrongf(fmt.Sprintf("write an offset with which %q stays within 1 to %d", f.PassivePorts, maxPort),
			"%d makes the ports %d to %d of %q", f.AdvertisedPortOffset, first, last, f.PassivePorts))
	}
}

// firstUnprivileged is the first port that needs no privilege to bind.
const firstUnprivileged = 1024

// backendRules is frontendRules for a backend.
func backendRules(_ *section[Backend], t table, b *Backend) {
	t.checks.backends = append(t.checks.backends, b.Name)
	t.serversRule(b)
	t.dataModeRule(b)
	t.sourceRules(b)
	if b.SendProxyData && !t.given("send_proxy") {
		t.faultAt(t.line("send_proxy_data"), "send_proxy_data", wrongf(`write send_proxy = "v2", too, or remove this key`, "has no effect without send_proxy"))
	}
	switch {
	case !t.sound("data_ports"):
	case b.DataPorts.First < firstUnprivileged:
		t.faultAt(t.line("data_ports"), "data_ports", wrongf(fmt.Sprintf("write ports from %d up", firstUnprivileged),
			"%q holds ports below %d, which servers refuse to connect to (RFC 2577 section 3)", b.DataPorts, firstUnprivileged))
	default:
		t.checks.ranges = append(t.checks.ranges, t.portUse("data_ports", b.DataPorts))
	}
}

// dataModeRule reports a verb that can name IPv4 addresses only, towards a server
// that has an IPv6 address.
func (t table) dataModeRule(b *Backend) {
	if !b.Data.OnlyIPv4() {
		return
	}
	general := DataPassive
	if b.Data == DataPORT {
		general = DataActive
	}
	for _, s := range b.Servers {
		if ip, err := netip.ParseAddr(s.Host); err == nil && ip.Is6() {
			t.faultAt(t.line("data"), "data", wrongf(fmt.Sprintf("write %q", general),
				"%q is for IPv4, but the server %q has an IPv6 address", b.Data, s))
			return
		}
	}
}

// sourceRules reports a word that has no effect, and servers that a fixed source
// leaves without an address to be reached from: the kernel would choose one, and
// nobody would notice.
func (t table) sourceRules(b *Backend) {
	if key := "source_other_family"; b.Source.Own && !b.Source.Client {
		t.faultAt(t.line(key), key, wrongf(`write source = "client", too, or remove this key`, `has no effect without source = "client"`))
	}
	if !b.Source.Fixed() {
		return
	}
	for _, s := range b.Servers {
		ip, err := netip.ParseAddr(s.Host)
		if err != nil {
			continue
		}
		family, name := familyOf(ip)
		if !b.Source.Of(family).IsValid() {
			t.faultAt(t.line("source"), "source", wrongf(fmt.Sprintf("add the %s address to connect from", name),
				"has no %s address, but the server %q has one", name, s))
			return
		}
	}
}

func (t table) portUse(key string, r PortRange) portUse {
	written := t.entry.table[key] != nil
	return portUse{ports: r, key: joinPath(t.entry.path, key), line: t.line(key), written: written}
}
