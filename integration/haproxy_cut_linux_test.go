package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHAProxyCutDownload: the server dies in the middle of a download. HAProxy may
// make an ordinary end out of ftproxy's reset; the client hears 426.
func TestHAProxyCutDownload(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleetConfig{variant: "split", haproxy: seldomChecked})
	serveBig(t, f.server)
	v := begin(t, f.client(0), f.haproxy.addr, f.server, "download", "passive")
	n := f.at(t, f.client(0))
	killServing(t, f.server.addr)
	t.Logf("the client's data connection ends with %v", v.sees(t))
	v.hear(t, 426, 421)
	wantFailure(t, n.process, n.get, "download", "server", 426)
}

// TestHAProxyCutUpload: a client resets its data connection right behind what it has
// sent. Where HAProxy finds the last of the data and the reset together it takes the
// reset for the end, unless it splices, or learns of neither before it reads.
func TestHAProxyCutUpload(t *testing.T) {
	for _, tt := range []struct {
		name  string
		under bool // the reset comes when HAProxy has begun to splice
		how   func(text string) string
	}{
		{"splicing", true, seldomChecked},
		{"select", false, func(text string) string {
			text = strings.ReplaceAll(text, "option splice-re", "no option splice-re")
			return strings.Replace(seldomChecked(text), "maxconn 1000", "maxconn 200\n    noepoll\n    nopoll", 1)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, fleetConfig{variant: "split", haproxy: tt.how})
			r, _, err := dialRaw(f.client(0), f.haproxy.addr, 3*patience)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := r.login(f.server.user, f.server.pass); err != nil {
				t.Fatal(err)
			}
			const times = 50
			for i := range times {
				u := upload{file: fmt.Sprint("cut", i), size: []int{1, 1000, 200_000}[i%3], reset: true}
				if tt.under {
					u.first, u.root = 10_000, f.server.root
				}
				if code, err := u.run(r); code != 426 {
					t.Errorf("cut upload %d: %d, %v", i, code, err)
				}
			}
			whole := upload{file: "whole", size: 200_000}
			if code, err := whole.run(r); code != 226 {
				t.Errorf("a whole upload: %d, %v", code, err)
			}
			if info, err := os.Stat(filepath.Join(f.server.root, "whole")); err != nil || info.Size() != 200_000 {
				t.Errorf("the whole upload is %v, %v", info, err)
			}
			waitFor(t, "vsftpd sees the failures", patience, func() bool {
				return strings.Count(f.server.log(), "FAIL UPLOAD") == times
			})
			n := f.at(t, f.client(0))
			if got := sample(t, n.get, `ftproxy_transfers_total{direction="upload",result="client"}`); got != times {
				t.Errorf("ftproxy counts %v that failed for the client's sake, want %d", got, times)
			}
		})
	}
}

// An upload is one with an end of its own.
type upload struct {
	file  string
	first int    // so many bytes arrive before the rest is sent
	root  string // where they do
	size  int    // of the rest
	reset bool
}

// run returns the code of the final reply.
func (u upload) run(r *raw) (int, error) {
	at, err := r.passive()
	if err != nil {
		return 0, err
	}
	d, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.bind, 0)), Timeout: patience}).Dial("tcp", at.String())
	if err != nil {
		return 0, err
	}
	defer d.Close()
	d.SetDeadline(time.Now().Add(patience))
	if _, err := r.expect(150, "STOR "+u.file); err != nil {
		return 0, err
	}
	if u.first > 0 {
		if _, err := d.Write(make([]byte, u.first)); err != nil {
			return 0, err
		}
		if !holdsWithin(patience, func() bool {
			info, err := os.Stat(filepath.Join(u.root, u.file))
			return err == nil && info.Size() >= int64(u.first)
		}) {
			return 0, errors.New("the first part does not arrive")
		}
	}
	if _, err := d.Write(make([]byte, u.size)); err != nil {
		return 0, err
	}
	if u.reset {
		if err := d.(*net.TCPConn).SetLinger(0); err != nil {
			return 0, err
		}
	}
	d.Close()
	code, _, err := r.reply()
	return code, err
}

// TestHAProxyAborts: ABOR with Telnet's signals. HAProxy drops the urgent byte, which
// is IAC as BSD's clients send it, and DM as RFC 959 §4.1.3 has it.
func TestHAProxyAborts(t *testing.T) {
	t.Parallel()
	const iac, ip, dm = "\xff", "\xf4", "\xf2"
	f := startFleet(t, fleetConfig{variant: "stick"})
	f.fill(t)
	for i, tt := range []struct{ name, before, urgent, after string }{
		{"BSD", "", iac + ip + iac, dm + "ABOR\r\n"},
		{"RFC 959", iac + ip, iac + dm, "ABOR\r\n"},
		{"the verb, too", "", iac + ip + iac + dm, "ABOR\r\n"},
		{"plain", "", "", "ABOR\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := f.download(f.client(i))
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			if _, err := io.WriteString(d, tt.before); err != nil {
				t.Fatal(err)
			}
			sendUrgent(t, d.Conn, tt.urgent)
			if _, err := io.WriteString(d, tt.after); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"426", "225 226"} {
				if code, text, err := d.reply(); !strings.Contains(want, fmt.Sprint(code)) {
					t.Fatalf("%d %s %v, want %s", code, text, err, want)
				}
			}
			rest, _ := io.Copy(io.Discard, d.data)
			if d.got+rest >= fleetFile {
				t.Error("the whole file came")
			}
			if err := fetchSmall(d.raw); err != nil {
				t.Error(err)
			}
			if _, err := d.expect(221, "QUIT"); err != nil {
				t.Error(err)
			}
		})
	}
}

func sendUrgent(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if text == "" {
		return
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.Sendto(int(fd), []byte(text), unix.MSG_OOB, nil) }); err != nil || sent != nil {
		t.Fatal(err, sent)
	}
}

// TestHAProxyTimeouts: a control connection is silent during a transfer. With the
// example's times it is there afterwards, and kept alive on both sides of HAProxy; a
// second client comes in where the times are short, and shows when one second is over.
func TestHAProxyTimeouts(t *testing.T) {
	t.Parallel()
	short := haproxy{}
	f := startFleet(t, fleetConfig{variant: "split", haproxy: func(text string) string {
		_, section, _ := strings.Cut(text, "listen ftp_control\n")
		section, _, _ = strings.Cut(section, "\n\n")
		long, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(section), "bind")), "\n")
		addr := netip.MustParseAddrPort(long)
		short.addr = netip.AddrPortFrom(addr.Addr(), freePort(t, addr.Addr()))
		section = strings.Replace(section, long, short.addr.String(), 1)
		return text + "\nlisten ftp_control_short\n" + section + "\n    timeout client 1s\n    timeout server 1s\n"
	}})
	f.fill(t)
	patient, err := f.download(f.client(0))
	if err != nil {
		t.Fatal(err)
	}
	defer patient.close()
	impatient := *f
	impatient.haproxy = &short
	cut, err := impatient.download(f.client(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cut.close()
	if code, text, err := cut.reply(); err == nil {
		t.Errorf("with timeouts of a second: %d %s, want the end", code, text)
	}
	n := f.at(t, f.client(0))
	for _, side := range []struct{ name, local, remote string }{
		{"client", inTable(f.haproxy.addr), ""}, {"ftproxy", "", inTable(n.addr4)},
	} {
		waitFor(t, "keepalive towards the "+side.name, patience, func() bool { return keptAlive(t, side.local, side.remote) })
	}
	if err := patient.finish(); err != nil {
		t.Errorf("with the example's timeouts: %v", err)
	}
}

// inTable is an address as /proc/net/tcp has it.
func inTable(a netip.AddrPort) string {
	b := a.Addr().As4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", b[3], b[2], b[1], b[0], a.Port()) // as a little-endian number
}

// keptAlive reports whether keepalive's timer runs on each established connection
// from local or to remote, of which there is one at least.
func keptAlive(t *testing.T, local, remote string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 9 && f[3] == "01" && (f[1] == local || f[2] == remote) {
			if !strings.HasPrefix(f[5], "02:") {
				return false
			}
			n++
		}
	}
	return n > 0
}
