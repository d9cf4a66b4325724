package integration

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A haproxy stands between the clients and ftproxy, on the same machine: it has the
// place's next address but ftproxy's, with the same ports.
type haproxy struct {
	*process
	addr   netip.AddrPort // of the control port
	socket string         // tells its state
}

// haproxyConfig is what tests choose of its configuration.
type haproxyConfig struct {
	send    string // how it says who the client is, and more of both servers
	control string // more of the control port's section
	check   string // more of the control port's server
	data    string // more of the data ports' section
}

// haproxyAddr is where it listens, and where it comes from to ftproxy.
func haproxyAddr(p place) netip.Addr { return p.proxy.Next() }

// behindHAProxy is the configuration of an ftproxy that clients reach through
// HAProxy. Both want the same ports, each at its address.
func behindHAProxy(t *testing.T, p place, servers ...netip.AddrPort) *proxyConfig {
	t.Helper()
	c := configure(t, p, servers...)
	c.listen = c.listen[:1]
	c.frontend = fmt.Sprintf("proxy_protocol = true\ntrusted_proxies = [\"%s\"]\npassive_bind = \"%s\"\n", haproxyAddr(p), p.proxy)
	return c
}

// shortFolder is one for a socket: the test's own may be too long, or have a comma.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ftproxy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func startHAProxy(t *testing.T, p place, to netip.AddrPort, c haproxyConfig) *haproxy {
	t.Helper()
	program := unpacked(t, "haproxy", "usr/sbin/haproxy")
	addr := haproxyAddr(p)
	dir := shortFolder(t)
	h := &haproxy{addr: netip.AddrPortFrom(addr, freePort(t, addr)), socket: filepath.Join(dir, "socket")}
	conf := filepath.Join(dir, "haproxy.cfg")
	write(t, conf, fmt.Sprintf(`global
	maxconn 1000
	stats socket %[1]s mode 600 level admin
	log stdout format raw local0

defaults
	mode tcp
	log global
	option tcplog
	timeout connect 1m
	timeout check 1m
	timeout client 10m
	timeout server 10m

listen control
	bind %[2]s
	%[5]s
	server ftproxy %[3]s source %[4]s %[7]s %[8]s

listen data
	bind %[4]s:%[10]s
	%[6]s
	server ftproxy %[9]s source %[4]s %[7]s
`, h.socket, h.addr, to, addr, c.control, c.data, c.send, c.check, to.Addr(), p.passive))
	h.run(t, program, conf)
	return h
}

// run starts HAProxy and waits until it listens.
func (h *haproxy) run(t *testing.T, program, conf string) {
	t.Helper()
	if out, err := exec.Command(program, "-c", "-f", conf).CombinedOutput(); err != nil || strings.Contains(string(out), "[WARNING]") {
		t.Fatalf("HAProxy does not take its configuration: %v\n%s", err, out)
	}
	h.process = start(t, "haproxy", exec.Command(program, "-db", "-f", conf))
	waitFor(t, "haproxy listens", patience, func() bool {
		if !h.running() {
			t.Fatalf("haproxy ended: %v\n%s", h.err, h.out)
		}
		_, err := h.ask("show info")
		return err == nil
	})
}

// ask puts a question to HAProxy.
func (h *haproxy) ask(question string) (string, error) {
	c, err := net.DialTimeout("unix", h.socket, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, question+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), err
}

// status is a field of what HAProxy knows of a server, such as "control/ftproxy".
func (h *haproxy) status(t *testing.T, server, field string) string {
	t.Helper()
	answer, err := h.ask("show stat")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(answer, "# "))).ReadAll()
	if err != nil {
		t.Fatalf("%v in %q", err, answer)
	}
	column := slices.Index(rows[0], field)
	if column < 0 {
		t.Fatalf("no %s in %q", field, rows[0])
	}
	for _, row := range rows[1:] {
		if row[0]+"/"+row[1] == server {
			return row[column]
		}
	}
	t.Fatalf("no %s in %q", server, answer)
	return ""
}

// throughHAProxy is what clients of a rig connect to.
func throughHAProxy(t *testing.T, r *rig, h *haproxy) target {
	t.Helper()
	to := r.target(t, false)
	to.addr = h.addr
	return to
}

// wantClients expects that every session in ftproxy's log is the client's own, and
// came through HAProxy.
func wantClients(t *testing.T, p *proxy, place place) {
	t.Helper()
	sessions := 0
	for line := range strings.Lines(p.out.String()) {
		if !strings.Contains(line, `"session started"`) {
			continue
		}
		sessions++
		for _, field := range []string{fmt.Sprintf(`"client":"%s:`, place.client), fmt.Sprintf(`"proxy":"%s:`, haproxyAddr(place))} {
			if !strings.Contains(line, field) {
				t.Errorf("no %s in %s", field, line)
			}
		}
	}
	if sessions == 0 {
		t.Error("no session in the log")
	}
	if n := p.metrics(t)["ftproxy_proxy_headers_refused_total"]; n > 0 {
		t.Errorf("%v connections were refused", n)
	}
}

// TestHAProxy: real clients reach a real server through HAProxy, in both versions of
// the PROXY protocol.
func TestHAProxy(t *testing.T) {
	throughProxy(t)
	for _, send := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(send, func(t *testing.T) {
			t.Parallel()
			kind := serverNamed("vsftpd")
			r := &rig{place: newPlace(t)}
			root := folder(t)
			write(t, filepath.Join(root, bigFile), "")
			if err := os.Truncate(filepath.Join(root, bigFile), bigFileSize); err != nil {
				t.Fatal(err)
			}
			r.server = kind.start(t, r.place.server, root)
			r.server.kind = kind
			r.proxy = startProxy(t, behindHAProxy(t, r.place, r.server.addr))
			h := startHAProxy(t, r.place, r.proxy.addr4, haproxyConfig{send: send})
			for _, c := range []struct {
				name   string
				client client
				modes  []mode
			}{
				{"curl", curl{command(t, "curl")}, []mode{{"PASV", false}, {"EPSV", false}, {"PORT", false}}},
				{"lftp", lftp{command(t, "lftp")}, []mode{{"PASV", false}, {"EPSV", false}}},
				{"ftplib", ftplib{python(t)}, []mode{{"PASV", false}, {"EPSV", false}, {"PORT", false}}},
			} {
				for _, m := range c.modes {
					for _, sc := range []struct {
						name string
						run  func(*bench)
					}{
						{"list", (*bench).lists}, {"download", (*bench).downloads}, {"upload", (*bench).uploads},
						{"empty", (*bench).transfersNothing}, {"abort", (*bench).aborts}, {"parallel", (*bench).inParallel},
					} {
						t.Run(c.name+"-"+m.String()+"-"+sc.name, func(t *testing.T) {
							dir := strings.ReplaceAll(t.Name(), "/", "-")
							sc.run(newBench(t, r, throughHAProxy(t, r, h), m, c.client, dir))
						})
					}
				}
			}
			wantClients(t, r.proxy, r.place)
			r.checkServerLog(t)
		})
	}
}

// TestHAProxyChecks: HAProxy's health checks keep ftproxy up, and leave nothing.
func TestHAProxyChecks(t *testing.T) {
	throughProxy(t)
	const ftp = "option tcp-check\n\ttcp-check expect rstring ^220\n\ttcp-check send QUIT\\r\\n\n\ttcp-check expect rstring ^221"
	for _, tt := range []struct{ name, control, check, send string }{
		{"connect", "", "check inter 1s check-send-proxy", "send-proxy-v2"},
		{"connect v1", "", "check inter 1s check-send-proxy", "send-proxy"},
		{"greeting", ftp, "check inter 1s check-send-proxy", "send-proxy-v2"},
		{"greeting v1", ftp, "check inter 1s check-send-proxy", "send-proxy"},
		{"greeting, as documented", ftp, "check inter 1s", "send-proxy-v2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s := startVsftpd(t, p.server, folder(t))
			c := behindHAProxy(t, p, s.addr)
			c.more = "[limits]\nsessions_per_client = 2\n"
			ftproxy := startProxy(t, c)
			before := atRest(t, ftproxy.process)
			h := startHAProxy(t, p, ftproxy.addr4, haproxyConfig{send: tt.send, control: tt.control, check: tt.check + " rise 2 fall 2"})
			checks := fmt.Sprintf(`"client":"%s:`, haproxyAddr(p))
			waitFor(t, "three checks", patience, func() bool { return strings.Count(ftproxy.out.String(), checks) >= 3*2 })
			const name = "control/ftproxy"
			if up, downs := h.status(t, name, "status"), h.status(t, name, "chkdown"); up != "UP" || downs != "0" {
				t.Errorf("ftproxy is %s, was down %s times: %s %s", up, downs, h.status(t, name, "check_status"), h.status(t, name, "last_chk"))
			}
			r := &rig{server: s, proxy: ftproxy, place: p}
			b := &bench{newSession(t, throughHAProxy(t, r, h), mode{"PASV", false}), s, curl{command(t, "curl")}, ""}
			b.downloads()
			h.stop(t, syscall.SIGTERM)
			wantIdle(t, ftproxy.process, ftproxy.get, before)
			if n := ftproxy.metrics(t)["ftproxy_proxy_headers_refused_total"]; n > 0 {
				t.Errorf("%v checks were refused", n)
			}
		})
	}
}

// TestHAProxySplices: behind PROXY headers, too, at least 99 % of the payload goes
// through splice(2), both ways.
func TestHAProxySplices(t *testing.T) {
	throughProxy(t)
	strace := command(t, "strace")
	if out, err := exec.Command(strace, "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		lack(t, fmt.Sprintf("strace cannot trace here: %v\n%s", err, out))
	}
	const size = 50 << 20
	for _, way := range []string{"download", "upload"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s := startEmbedded(t, serverNamed("embedded").address(p), folder(t))
			s.kind = serverNamed("embedded")
			trace := filepath.Join(t.TempDir(), "trace")
			ftproxy := startProxy(t, behindHAProxy(t, p, s.addr), traced(strace, trace)...)
			h := startHAProxy(t, p, ftproxy.addr4, haproxyConfig{send: "send-proxy-v2"})
			r := &rig{server: s, proxy: ftproxy, place: p}
			b := &bench{newSession(t, throughHAProxy(t, r, h), mode{"PASV", false}), s, curl{command(t, "curl")}, ""}
			if way == "download" {
				want := b.serve("file", size)
				b.must(b.client.get(b.session, plain("file"), b.local("got"), whole))
				b.same(want, b.local("got"))
			} else {
				want := b.prepare("file", size)
				b.must(b.client.put(b.session, b.local("file"), plain("sent"), whole))
				b.same(want, b.disk("sent"))
			}
			if code := ftproxy.stop(t, syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}
			spliced, copied := traffic(t, trace, ftproxy.cmd.Process.Pid)
			spliced /= 2 // each byte into a pipe and out of it
			t.Logf("%d bytes spliced, %d bytes in reads and writes", spliced, copied)
			if spliced < size*99/100 {
				t.Errorf("%d of %d bytes went through splice", spliced, size)
			}
			if copied > size/100 {
				t.Errorf("%d bytes in reads and writes, want at most 1 %% of %d", copied, size)
			}
		})
	}
}

// traced is strace around a program, whose grandchild it is, so that signals go to
// the program itself.
func traced(strace, file string) []string {
	return []string{strace, "-D", "-f", "-q", "-s", "0", "-o", file,
		"-e", "trace=splice,read,write,readv,writev,sendto,recvfrom,sendmsg,recvmsg,sendfile,tee,vmsplice"}
}

// TestHAProxyOnePort: two clients share ftproxy's only data port, and HAProxy's
// address, at the same time; each gets its own file, and a third gets none.
func TestHAProxyOnePort(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	p.passive.last = p.passive.first
	s := startVsftpd(t, p.server, folder(t))
	ftproxy := startProxy(t, behindHAProxy(t, p, s.addr))
	h := startHAProxy(t, p, ftproxy.addr4, haproxyConfig{send: "send-proxy-v2"})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var clients []*raw
	var at []netip.AddrPort
	addr := p.client
	for _, name := range []string{"one", "two"} {
		write(t, filepath.Join(s.root, name), name)
		r, _, err := dialRaw(addr, h.addr, 3*patience)
		must(err)
		defer r.Close()
		must(r.login(s.user, s.pass))
		to, err := r.passive()
		must(err)
		clients, at, addr = append(clients, r), append(at, to), addr.Next()
	}
	if at[0] != at[1] || at[0] != netip.AddrPortFrom(haproxyAddr(p), p.passive.first) {
		t.Fatalf("the clients are told %v", at)
	}
	stranger, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)), Timeout: patience}).Dial("tcp", at[0].String())
	must(err)
	defer stranger.Close()
	stranger.SetDeadline(time.Now().Add(patience))
	if n, err := stranger.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stranger gets %d bytes and %v", n, err)
	}
	for i, name := range []string{"two", "one"} {
		got, err := clients[1-i].fetch(name, at[1-i])
		if err != nil || string(got) != name {
			t.Errorf("the client gets %q and %v, want %q", got, err, name)
		}
	}
}
