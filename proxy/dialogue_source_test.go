package proxy

import (
	"testing"

	"ftproxy/internal/ftptest"
)

// sourced is the dialogues' configuration with a source. Here config> lines belong
// to the backend.
func sourced(frontend, backend string) string {
	return `
[frontend.public]
listen = ["203.0.113.9:21", "[2001:db8::9]:21"]
public_address = "203.0.113.9"
passive_ports = "40000"
backend = "inside"
` + frontend + `
[backend.inside]
data_ports = "31000-31001"
` + backend + "\n"
}

// TestDialoguesTransparent is about servers that see the clients' own addresses.
func TestDialoguesTransparent(t *testing.T) {
	ftptest.RunDialogues(t, "testdata/dialogues/transparent/*.txt", startDialogue(sourced("", `source = "client"`)))
}

// TestDialoguesTransparentOwn: of the clients of their own family alone.
func TestDialoguesTransparentOwn(t *testing.T) {
	base := sourced("", "source = \"client\"\nsource_other_family = \"own\"")
	ftptest.RunDialogues(t, "testdata/dialogues/transparent/own/*.txt", startDialogue(base))
}

// TestDialoguesTransparentProxied: of clients that proxies name.
func TestDialoguesTransparentProxied(t *testing.T) {
	base := sourced("proxy_protocol = true\ntrusted_proxies = \"198.51.100.50\"", `source = "client"`)
	ftptest.RunDialogues(t, "testdata/dialogues/transparent/proxied/*.txt", startDialogue(base))
}

// TestDialoguesFixedSource is about an address that the kernel would not choose.
func TestDialoguesFixedSource(t *testing.T) {
	base := sourced("", `source = "203.0.113.9"`)
	ftptest.RunDialogues(t, "testdata/dialogues/transparent/fixed/*.txt", startDialogue(base))
}
