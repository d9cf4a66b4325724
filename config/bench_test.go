package config

import (
	"fmt"
	"strings"
	"testing"
)

// large writes a configuration of n frontends and n backends, as a site of
// many tenants has it.
func large(n int) string {
	var b strings.Builder
	b.WriteString("[log]\nlevel = \"info\"\n\n[limits]\nsessions = 2500\n")
	for i := range n {
		fmt.Fprintf(&b, `
# Tenant %[1]d, by ticket %[2]d.
[frontend.tenant-%[1]d]
listen = ["192.0.%[3]d.%[4]d:21", "[2001:db8::%[2]x]:21"]
public_address = "203.0.113.9"
passive_ports = "%[5]d-%[6]d"
passive_bind = "0.0.0.0"
bandwidth = "80Mbit/s" # as agreed
backend = "tenant-%[1]d"
banner = "Welcome to tenant %[1]d"

[backend.tenant-%[1]d]
servers = [
  "10.0.%[3]d.%[4]d:21",
  "10.1.%[3]d.%[4]d:21",
]
data = "passive"
trust_data_address = ["10.2.%[3]d.0/24"]
`, i, i+1000, i/200, i%200+1, 20000+i*4, 20000+i*4+3)
	}
	return b.String()
}

func BenchmarkParse200(b *testing.B) { benchmarkParse(b, 200) }

func BenchmarkParse500(b *testing.B) { benchmarkParse(b, 500) }

func benchmarkParse(b *testing.B, n int) {
	text := []byte(large(n))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("config.toml", text); err != nil {
			b.Fatal(err)
		}
	}
}
