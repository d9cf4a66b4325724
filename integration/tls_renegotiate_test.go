package integration

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
)

// TestServerRenegotiates: ProFTPD with TLSRenegotiate and TLS 1.2 asks for renegotiation in
// the middle of a transfer. ftproxy does none: that transfer fails, the client hears 426,
// the log says why, and the session goes on.
func TestServerRenegotiates(t *testing.T) {
	throughProxy(t)
	p := newPlace(t)
	inside := certificateFor(t, p.server)
	root := folder(t)
	write(t, filepath.Join(root, "big"), string(content("big", 8<<20)))
	write(t, filepath.Join(root, "small"), smallText)
	s := startProFTPDWith(t, netip.AddrPortFrom(p.server, freePort(t, p.server)), root,
		"TLSRenegotiate data 1024 required off timeout 300\n", serverTLS{file: inside.File, without3: true})
	c := configure(t, p, s.addr)
	c.backend = fmt.Sprintf("tls = { mode = \"explicit\", ca = %q }", inside.File)
	ftproxy := startProxy(t, c)
	client, err := dialIn(p.client, ftproxy.addr4, s)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	small := func() {
		t.Helper()
		if got, err := client.get("PASV", "small"); err != nil || string(got) != smallText {
			t.Errorf("small: %q, %v", got, err)
		}
	}
	small()
	if got, err := client.get("PASV", "big"); err == nil || len(got) >= 8<<20 || !bytes.HasPrefix(content("big", 8<<20), got) {
		t.Errorf("big: %d bytes, %v", len(got), err)
	}
	if code, text, err := client.reply(); err != nil || code != 426 {
		t.Errorf("the reply to big: %d %s, %v", code, text, err)
	}
	small()
	wantOneWarning(t, ftproxy.process, "the server asks for TLS renegotiation, which ends its data connection", "server", s.addr.String(), "TLSRenegotiate none")
}
