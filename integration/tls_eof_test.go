package integration

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestStrictEOF: these clients and servers end their data with close_notify, so that
// strict_eof may be on for them, on both sides.
func TestStrictEOF(t *testing.T) {
	for _, name := range tlsServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			throughProxy(t)
			p := newPlace(t)
			root := folder(t)
			inside, outside := certificateFor(t, p.server), certificateFor(t, p.proxy)
			s := startProtected(t, name, serverNamed(name).address(p), root, serverTLS{file: inside.File})
			c := configure(t, p, s.addr)
			c.frontend = fmt.Sprintf("tls = { mode = \"required\", certificate = %q, strict_eof = true }", outside.File)
			c.backend = fmt.Sprintf("tls = { mode = \"explicit\", ca = %q, strict_eof = true }", inside.File)
			proxy := startProxy(t, c)
			down, up := content("down", 300_007), content("up", 300_007)
			write(t, filepath.Join(root, "down"), string(down))
			for _, k := range clientKinds {
				if k.name != "curl" && k.name != "lftp" && k.name != "ftplib" {
					continue
				}
				for _, version := range []string{"1.2", "1.3"} {
					to := target{
						addr: proxy.addr4, user: s.user, pass: s.pass, bind: p.client, passive: p.passive,
						tls: clientTLS{mode: "explicit", ca: outside.File, version: version},
					}
					cl, local, stored := k.find(t), filepath.Join(t.TempDir(), "file"), "up-"+k.name+version
					err := cl.get(newSession(t, to, mode{"PASV", false}), plain("down"), local, whole)
					if got, _ := os.ReadFile(local); err != nil || !bytes.Equal(got, down) {
						t.Errorf("%s with TLS %s, download: %d bytes, %v", k.name, version, len(got), err)
					}
					write(t, local, string(up))
					err = cl.put(newSession(t, to, mode{"PASV", false}), local, plain(stored), whole)
					if got, _ := os.ReadFile(filepath.Join(root, stored)); err != nil || !bytes.Equal(got, up) {
						t.Errorf("%s with TLS %s, upload: %d bytes, %v", k.name, version, len(got), err)
					}
				}
			}
			r, err := logInProtected(p.client, proxy.addr4, s, clientConfig(outside.Pool, "", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := r.cut("cut", up); err == nil {
				t.Error("an upload without close_notify is called complete")
			}
		})
	}
}

// cut uploads without TLS's own end, as a connection does that somebody on the path
// has closed.
func (r *raw) cut(file string, content []byte) error {
	d, err := r.agree("PASV")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := r.begin(d, "STOR "+file); err != nil {
		return err
	}
	if _, err := d.conn.Write(content); err != nil {
		return err
	}
	if err := d.conn.(*tls.Conn).NetConn().Close(); err != nil {
		return err
	}
	return r.done("STOR " + file)
}
