package config

import (
	"slices"
	"testing"
)

// What no sane firewall would let through is warned of; what the largest
// private networks and a large site need is not.
func TestExposure(t *testing.T) {
	text := func(passive, foreign, data, ports, trust string) string {
		return "[frontend.a]\nlisten = \"192.0.2.1:21\"\nbackend = \"b\"\npassive_ports = \"" + passive + "\"\nallow_foreign_data = [" + foreign + "]\n" +
			"[backend.b]\nservers = \"10.0.0.5\"\ndata = \"" + data + "\"\ndata_ports = \"" + ports + "\"\ntrust_data_address = [" + trust + "]\n"
	}
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"as large as it gets", text("20000-29999", `"10.0.0.0/8", "fc00::/7"`, "client", "40000-49999", `"10.0.0.0/8", "fc00::/7"`), nil},
		{"wide", text("20000-30000", `"8.0.0.0/7", "2000::/6"`, "active", "40000-50000", `"0.0.0.0/0", "::/0"`), []string{
			`config.toml:4: frontend.a.passive_ports: "20000-30000" makes the firewall outside open 10001 ports; each serves any number of clients; a hundred will do: write for example "30000-30099"`,
			`config.toml:5: frontend.a.allow_foreign_data: with "8.0.0.0/7" clients have ftproxy exchange data with nearly anyone; write the networks that take part in such transfers, for example "192.0.2.0/24"`,
			`config.toml:5: frontend.a.allow_foreign_data: with "2000::/6" clients have ftproxy exchange data with nearly anyone; write the networks that take part in such transfers, for example "192.0.2.0/24"`,
			`config.toml:9: backend.b.data_ports: "40000-50000" makes the firewall inside open 10001 ports; each is an active transfer per server; a few hundred will do: write for example "31000-31099"`,
			`config.toml:10: backend.b.trust_data_address: with "0.0.0.0/0" servers send ftproxy nearly anywhere, and nearly anyone may send data in their place; write the networks of the servers' data addresses, for example "10.1.0.0/16"`,
			`config.toml:10: backend.b.trust_data_address: with "::/0" servers send ftproxy nearly anywhere, and nearly anyone may send data in their place; write the networks of the servers' data addresses, for example "10.1.0.0/16"`,
		}},
		{"inside ports that are not used", text("20000-20009", "", "passive", "40000-50000", ""), nil},
	} {
		var got []string
		for _, p := range Warnings(mustParse(t, tt.text), Sysctl{}) {
			got = append(got, p.Error())
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(tt.want))
		if !slices.Equal(got, want) {
			t.Errorf("%s: got\n%q\nwant\n%q", tt.name, got, want)
		}
	}
}
