package integration

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unprivileged is ftproxy as somebody who owns nothing, with these capabilities.
func unprivileged(t *testing.T, capabilities ...string) (program string, wrap []string) {
	t.Helper()
	throughProxy(t)
	needRoot(t, "a program as somebody else")
	program = filepath.Join(folder(t), "ftproxy")
	// Not by this process: what it writes to, its children have open for writing,
	// too, for a moment, and then nobody can run it.
	if out, err := exec.Command("cp", binary, program).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	wrap = []string{
		command(t, "setpriv"), fmt.Sprint("--reuid=", nobody), fmt.Sprint("--regid=", nobody), "--clear-groups", "--no-new-privs",
	}
	caps := "-all"
	for _, c := range capabilities {
		caps += ",+" + c
	}
	return program, append(wrap, "--inh-caps="+caps, "--ambient-caps="+caps, "--bounding-set="+caps)
}

// privileged20 ends a test where everybody may have port 20.
func privileged20(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err == nil && len(strings.TrimSpace(string(text))) < 2 {
		t.Skipf("ports from %s on need no capability here", text)
	}
}

// A dialled is what clients see of ftproxy's data connections in active mode.
type dialled struct {
	t       *testing.T
	proxy   *proxy
	server  *server
	place   place
	sources portRange // besides port 20
}

// newDialled starts ftproxy with the capability for port 20 and nothing else.
func newDialled(t *testing.T, sources func(portRange) string) *dialled {
	t.Helper()
	privileged20(t)
	p := newPlace(t)
	x := &dialled{t: t, place: p, server: startVsftpd(t, p.server, folder(t))}
	places.Lock()
	x.sources = freeRange(t, p.proxy)
	places.Unlock()
	c := configure(t, p, x.server.addr)
	if len(c.listen) > 1 {
		c.listen[1] = netip.AddrPortFrom(ownIPv6(t, p), c.listen[1].Port())
	}
	c.frontend = "active_source_ports = " + sources(x.sources)
	c.backend = `data = "passive"`
	program, wrap := unprivileged(t, "net_bind_service")
	c.binary = program
	x.proxy = startProxy(t, c, wrap...)
	return x
}

func (x *dialled) serve(name string) (want []byte, err error) {
	want = content(name, 300_007)
	return want, os.WriteFile(filepath.Join(x.server.root, name), want, 0o644)
}

// source is the port that a data connection came from; its address must be that
// of control.
func (d *dataEnd) source(r *raw) (uint16, error) {
	from := d.conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if from.Addr().Unmap() != r.far() {
		return 0, fmt.Errorf("the data connection came from %v, want %v", from, r.far())
	}
	return from.Port(), nil
}

// TestSourcePort20: data connections to clients come from port 20, however many
// there are at once, to the same client too, and without root.
func TestSourcePort20(t *testing.T) {
	t.Parallel()
	x := newDialled(t, func(r portRange) string { return fmt.Sprintf(`["20", "%s"]`, r) })
	const sessions = 48
	together(t, sessions, 2, func(c *crowd, i int) error {
		from, to := x.place.client.As4(), x.proxy.addr4
		verb := []string{"PORT", "EPRT"}[i%2]
		from[3] += byte(i / 8) // six addresses
		client := netip.AddrFrom4(from)
		if i%6 == 5 && haveIPv6() {
			client, to, verb = netip.IPv6Loopback(), x.proxy.addr6, "EPRT"
		}
		name := fmt.Sprint("file", i)
		want, err := x.serve(name)
		if err != nil {
			return err
		}
		r, err := dialIn(client, to, x.server)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := c.wait(0); err != nil {
			return err
		}
		d, err := r.agree(verb)
		if err != nil {
			return err
		}
		defer d.Close()
		if err := r.begin(d, "RETR "+name); err != nil {
			return err
		}
		if from, err := d.source(r); err != nil || from != 20 {
			return fmt.Errorf("the data connection came from port %d (%v), want 20", from, err)
		}
		if err := c.wait(1); err != nil { // All are open now.
			return err
		}
		got, err := io.ReadAll(d.conn)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%d bytes that are not its file", len(got))
		}
		if err != nil {
			return err
		}
		d.Close()
		if err := r.done(name); err != nil {
			return err
		}
		return r.put(verb, name+"-up", want)
	})
}

// TestSourcePortsToOnePort: a client that wants all its data connections at one
// port of its gets them from port 20 and, while that has one, from the next of
// the list; one after the other as well.
func TestSourcePortsToOnePort(t *testing.T) {
	t.Parallel()
	x := newDialled(t, func(r portRange) string { return fmt.Sprintf(`["20", "%s"]`, r) })
	at := net.TCPAddrFromAddrPort(netip.AddrPortFrom(x.place.client, x.place.data.first))
	// One listener for all: a port that was closed may be in use for a moment more,
	// because a program that another test is starting has a copy until its exec.
	l, err := net.ListenTCP("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want, err := x.serve("file")
	if err != nil {
		t.Fatal(err)
	}
	login := func() *raw {
		r, err := dialIn(x.place.client, x.proxy.addr4, x.server)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	inList := func(port uint16) bool { return port == 20 || x.sources.contains(port) }

	t.Run("at once", func(t *testing.T) {
		seen := make(map[uint16]bool)
		for i := range 6 {
			r := login()
			d, err := r.agreeAt("PORT", l)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.begin(d, "STOR "+fmt.Sprint("up", i)); err != nil {
				t.Fatal(err)
			}
			d.listener = nil
			defer d.Close()
			defer func() {
				if _, err := d.conn.Write(want); err != nil {
					t.Error(err)
				}
				d.Close()
				if err := r.done(fmt.Sprint("STOR up", i)); err != nil {
					t.Error(err)
				}
				if got, err := os.ReadFile(filepath.Join(x.server.root, fmt.Sprint("up", i))); err != nil || !bytes.Equal(got, want) {
					t.Errorf("up%d: %d bytes that are not its file, %v", i, len(got), err)
				}
			}()
			from, err := d.source(r)
			if err != nil || !inList(from) || seen[from] || i == 0 && from != 20 {
				t.Errorf("connection %d came from port %d (%v), want 20 first, and then others of %v", i, from, err, x.sources)
			}
			seen[from] = true
		}
	})
	t.Run("in a row", func(t *testing.T) {
		r := login()
		for i := range 10 {
			d, err := r.agreeAt([]string{"PORT", "EPRT"}[i%2], l)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.begin(d, "RETR file"); err != nil {
				t.Fatal(err)
			}
			d.listener = nil
			if from, err := d.source(r); err != nil || !inList(from) {
				t.Errorf("connection %d came from port %d (%v), want 20 or one of %v", i, from, err, x.sources)
			}
			got, err := io.ReadAll(d.conn)
			d.Close()
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes that are not its file, %v", len(got), err)
			}
			if err := r.done("RETR"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestSourcePortsTaken: with one port only, a second connection to the same port
// of a client is refused; the session lives, and has it later.
func TestSourcePortsTaken(t *testing.T) {
	t.Parallel()
	x := newDialled(t, func(portRange) string { return `["20"]` })
	want, err := x.serve("file")
	if err != nil {
		t.Fatal(err)
	}
	var sessions [2]*raw
	for i := range sessions {
		if sessions[i], err = dialIn(x.place.client, x.proxy.addr4, x.server); err != nil {
			t.Fatal(err)
		}
		defer sessions[i].Close()
	}
	first, second := sessions[0], sessions[1]
	d, err := first.agree("PORT")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := first.begin(d, "STOR up"); err != nil {
		t.Fatal(err)
	}
	at := d.listener.Addr().(*net.TCPAddr).AddrPort()
	port := fmt.Sprintf("EPRT |1|%s|%d|", at.Addr(), at.Port())
	if _, err := second.expect(200, port); err != nil {
		t.Fatal(err)
	}
	if _, err := second.begins(1, "RETR file"); err != nil {
		t.Fatal(err)
	}
	if code, text, err := second.reply(); err != nil || code != 425 {
		t.Fatalf("a connection from a port that is taken: %d %s, %v, want 425", code, text, err)
	}
	if _, err := d.conn.Write(want); err != nil {
		t.Fatal(err)
	}
	d.conn.Close()
	if err := first.done("STOR up"); err != nil {
		t.Fatal(err)
	}
	if d, err = second.agreeAt("PORT", d.listener); err != nil {
		t.Fatal(err)
	}
	got, err := second.download(d, "file")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes that are not the file, %v", len(got), err)
	}
}

// TestSourcePortForbidden: without the capability ftproxy does not start, and
// says what it lacks.
func TestSourcePortForbidden(t *testing.T) {
	t.Parallel()
	privileged20(t)
	program, wrap := unprivileged(t)
	p := newPlace(t)
	c := configure(t, p, netip.AddrPortFrom(p.server, 21))
	c.frontend = `active_source_ports = ["20"]`
	path := filepath.Join(folder(t), "config.toml")
	write(t, path, c.text(netip.AddrPortFrom(p.proxy, freePort(t, p.proxy))))
	cmd := exec.Command(wrap[0], append(wrap[1:], program, "serve", "-config", path)...)
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	ftproxy := start(t, "ftproxy", cmd)
	select {
	case <-ftproxy.done:
	case <-time.After(patience):
		ftproxy.stop(t, syscall.SIGKILL)
		t.Fatal("ftproxy starts with a port that it may not have")
	}
	if code := ftproxy.exitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, hint := range []string{"active_source_ports", "20", "CAP_NET_BIND_SERVICE"} {
		if !strings.Contains(out.String(), hint) {
			t.Errorf("the error does not speak of %s:\n%s", hint, out)
		}
	}
}
