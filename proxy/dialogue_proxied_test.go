package proxy

import (
	"testing"

	"ftproxy/internal/ftptest"
)

// TestDialoguesProxied is about clients that come through proxies with PROXY
// headers: 198.51.100.50, and by IPv6 2001:db8:1::32. Here config> lines belong to
// the frontend.
func TestDialoguesProxied(t *testing.T) {
	ftptest.RunDialogues(t, "testdata/dialogues/proxied/*.txt", startDialogue(`
[backend.inside]
servers = "10.0.0.5"
data_ports = "31000-31001"

[frontend.public]
listen = ["203.0.113.9:21", "[2001:db8::9]:21"]
passive_ports = "40000"
backend = "inside"
trusted_proxies = ["198.51.100.50", "198.51.100.51", "2001:db8:1::32"]
proxy_protocol = true
`))
}

// TestDialoguesProxiedData is about clients that reach the control port themselves,
// and whose data comes through a proxy.
func TestDialoguesProxiedData(t *testing.T) {
	base := variant(t, `backend = "inside"`, "backend = \"inside\"\ndata_proxy_protocol = true\ntrusted_proxies = \"198.51.100.50\"")
	ftptest.RunDialogues(t, "testdata/dialogues/proxied/data-only/*.txt", startDialogue(base))
}
