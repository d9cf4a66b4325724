package config

import (
	"fmt"
	"runtime"
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

func BenchmarkParse2000Backends(b *testing.B) {
	var text strings.Builder
	text.WriteString(minimal)
	for i := range 2000 {
		fmt.Fprintf(&text, "[backend.tenant-%d]\nservers = [\"10.0.%d.%d:21\"]\ndata = \"passive\"\n", i, i/200, i%200+1)
	}
	benchmarkText(b, text.String())
}

func benchmarkParse(b *testing.B, n int) { benchmarkText(b, large(n)) }

func benchmarkText(b *testing.B, config string) {
	text := []byte(config)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("config.toml", text); err != nil {
			b.Fatal(err)
		}
	}
}

// A file takes as much memory as it is long, and not as the square of it; so
// it does not take as much time, either.
func TestLargeFilesTakeTheirShare(t *testing.T) {
	text := []byte(large(200))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := Parse("config.toml", text)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Frontends) != 200 || len(c.Backends) != 200 {
		t.Errorf("%d frontends, %d backends", len(c.Frontends), len(c.Backends))
	}
	const share = 300 // bytes per byte; 54 when this was written
	if n := after.TotalAlloc - before.TotalAlloc; n > share*uint64(len(text)) {
		t.Errorf("%d bytes take %d", len(text), n)
	}
}
