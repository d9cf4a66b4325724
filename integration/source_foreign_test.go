package integration

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ftproxy/rewrite"
)

// promiscuous are servers that let a client name the address of another server,
// and let that one connect (FXP).
var promiscuous = map[string]func(t *testing.T, addr netip.Addr, root string) *server{
	"vsftpd": func(t *testing.T, addr netip.Addr, root string) *server {
		return startVsftpdWith(t, addr, root, "port_promiscuous=YES\npasv_promiscuous=YES\nconnect_from_port_20=NO", serverTLS{})
	},
	"proftpd": func(t *testing.T, addr netip.Addr, root string) *server {
		return startProFTPDWith(t, netip.AddrPortFrom(addr, freePort(t, addr)), root, "AllowForeignAddress on", serverTLS{})
	},
}

// An fxp is a client of two servers that transfer between each other. One of
// them is behind ftproxy.
type fxp struct {
	place        place
	ours, theirs *server
	proxy        *proxy
}

// newFXP starts both, and ftproxy with more keys for its frontend and its backend.
func newFXP(t *testing.T, ours, theirs string, frontend func(netip.Addr) string, backend string) *fxp {
	t.Helper()
	throughProxy(t)
	p := newPlace(t)
	x := &fxp{place: p}
	x.ours = serverNamed(ours).start(t, p.server, folder(t))
	x.theirs = promiscuous[theirs](t, p.server.Next(), folder(t))
	c := configure(t, p, x.ours.addr)
	c.frontend, c.backend = frontend(x.theirs.addr.Addr()), backend
	x.proxy = startProxy(t, c)
	return x
}

// login opens both sessions.
func (x *fxp) login(t *testing.T) (ours, theirs *raw) {
	t.Helper()
	ours, err := dialIn(x.place.client, x.proxy.addr4, x.ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if theirs, err = dialIn(x.place.client, x.theirs.addr, x.theirs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	for _, r := range []*raw{ours, theirs} {
		if err := r.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return ours, theirs
}

// announce tells one server where the other listens.
func (r *raw) announce(verb string, to netip.AddrPort) error {
	arg := rewrite.FormatPORT(to)
	if verb == "EPRT" {
		arg = rewrite.FormatEPRT(to)
	}
	_, err := r.begins(2, verb+" "+arg)
	return err
}

// TestForeignData: two real servers transfer a file between each other through
// ftproxy, which allows the other one.
func TestForeignData(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"vsftpd", "proftpd"}, {"proftpd", "vsftpd"}} {
		for _, data := range []string{"passive", "active"} {
			t.Run(fmt.Sprintf("%s-%s-%s", pair[0], data, pair[1]), func(t *testing.T) {
				t.Parallel()
				x := newFXP(t, pair[0], pair[1], func(theirs netip.Addr) string {
					return fmt.Sprintf("allow_foreign_data = [\"%s/32\"]", theirs)
				}, fmt.Sprintf("data = %q", data))
				for _, listening := range []string{"ftproxy", "other"} {
					for _, verb := range []string{"PORT", "EPRT"} {
						for _, from := range []string{"ftproxy", "other"} {
							t.Run(fmt.Sprintf("%s-listens-%s-from-%s", listening, verb, from), func(t *testing.T) {
								x.transfer(t, listening == "ftproxy", verb, from == "ftproxy")
							})
						}
					}
				}
			})
		}
	}
}

// transfer moves a file from ftproxy's server to the other one or back; one of
// the two listens, and the other is told so with verb.
func (x *fxp) transfer(t *testing.T, weListen bool, verb string, fromUs bool) {
	ours, theirs := x.login(t)
	listener, dialler := theirs, ours
	if weListen {
		listener, dialler = ours, theirs
	}
	sender, from, receiver, to := theirs, x.theirs, ours, x.ours
	if fromUs {
		sender, from, receiver, to = ours, x.ours, theirs, x.theirs
	}
	name := filepath.Base(t.Name())
	want := content(name, 700_001)
	if err := os.WriteFile(filepath.Join(from.root, name), want, 0o644); err != nil {
		t.Fatal(err)
	}
	at, err := listener.passive()
	if err != nil {
		t.Fatal(err)
	}
	if err := dialler.announce(verb, at); err != nil {
		t.Fatal(err)
	}
	commands := map[*raw]string{sender: "RETR " + name, receiver: "STOR " + name}
	// The one that listens may wait for the connection before it answers, and
	// the other one may only dial when it is told to transfer.
	for _, r := range []*raw{listener, dialler} {
		if err := r.send(commands[r]); err != nil {
			t.Fatal(err)
		}
	}
	for r, command := range commands {
		for _, hundred := range []int{1, 2} {
			code, text, err := r.reply()
			if err != nil || code/100 != hundred {
				t.Fatalf("%s: %d %s, %v, want %dxx", command, code, text, err, hundred)
			}
		}
	}
	got, err := os.ReadFile(filepath.Join(to.root, name))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes that are not the file's %d, %v", len(got), len(want), err)
	}
}

// TestForeignDataRefused: without allow_foreign_data, and with that of another
// network, ftproxy neither dials another server nor lets it connect; the data
// connection remains the client's.
func TestForeignDataRefused(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]string{
		"default": "", "another network": `allow_foreign_data = ["192.0.2.0/24"]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFXP(t, "vsftpd", "proftpd", func(netip.Addr) string { return keys }, "")
			ours, theirs := x.login(t)
			want := content(name, 100_003)
			if err := os.WriteFile(filepath.Join(x.ours.root, "file"), want, 0o644); err != nil {
				t.Fatal(err)
			}
			at, err := theirs.passive()
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"PORT " + rewrite.FormatPORT(at), "EPRT " + rewrite.FormatEPRT(at)} {
				if _, err := ours.expect(504, command); err != nil {
					t.Error(err)
				}
			}
			if at, err = ours.passive(); err != nil {
				t.Fatal(err)
			}
			if err := theirs.announce("PORT", at); err != nil {
				t.Fatal(err)
			}
			if err := theirs.send("STOR file"); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the stranger is closed", patience, func() bool {
				return x.proxy.metrics(t)["ftproxy_data_strangers_closed_total"] == 1
			})
			for { // The other server sees the end of an empty file, or that it was reset.
				code, text, err := theirs.reply()
				if err != nil {
					t.Fatalf("STOR: %d %s, %v", code, text, err)
				}
				if code >= 200 {
					break
				}
			}
			if got, err := os.ReadFile(filepath.Join(x.theirs.root, "file")); len(got) > 0 || err != nil && !os.IsNotExist(err) {
				t.Errorf("the other server has %d bytes, %v", len(got), err)
			}
			d := &dataEnd{to: at}
			got, err := ours.download(d, "file")
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the client's own connection carried %d bytes, %v, want %d", len(got), err, len(want))
			}
		})
	}
}
