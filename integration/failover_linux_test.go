package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A crew is vsftpd, ProFTPD and pure-ftpd behind one backend, with the same files but one:
// which says who it is.
type crew struct {
	place             place
	vsftpd, pro, pure *server
	silent, full      netip.AddrPort // accepts and says nothing; drops each SYN
	accepted          atomic.Int64   // by silent
	clients           atomic.Int64
	mu                sync.Mutex
	served            map[string]int // by name
}

func startCrew(t *testing.T) *crew {
	t.Helper()
	p := newPlace(t)
	c := &crew{place: p, served: make(map[string]int)}
	root := func(name string) string {
		dir := folder(t)
		write(t, filepath.Join(dir, "which"), name)
		own(t, filepath.Join(dir, "which"))
		return dir
	}
	c.vsftpd = startVsftpd(t, p.server, root("vsFTPd"))
	c.pro = startProFTPD(t, p.server, root("ProFTPD"))
	c.pure = startPureFTPd(t, p.server, root("Pure-FTPd"))
	l, err := net.Listen("tcp", netip.AddrPortFrom(p.server, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c.silent = l.Addr().(*net.TCPAddr).AddrPort()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.accepted.Add(1)
			t.Cleanup(func() { conn.Close() })
		}
	}()
	c.full = dropping(t, p.server)
	return c
}

// dropping is an address where the kernel drops each SYN, as a firewall does: its queue
// of connections to accept is full.
func dropping(t *testing.T, addr netip.Addr) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: addr.As4()}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(addr, uint16(name.(*syscall.SockaddrInet4).Port))
	for range 8 { // One is enough, and a few more that the kernel has room for.
		conn, err := net.DialTimeout("tcp", at.String(), 200*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the kernel accepts more connections than the queue has room for")
	return at
}

// A visitor is a client that does not know which server it will get.
type visitor struct {
	*raw
	server *server
}

// enter connects and reads a greeting. It tells its server by that.
func (c *crew) enter(at netip.AddrPort) (*visitor, error) {
	bind := c.place.client
	for range c.clients.Add(1) % 8 {
		bind = bind.Next()
	}
	conn, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(bind, 0)), Timeout: patience}).Dial("tcp", at.String())
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	r := &raw{Conn: conn, r: textproto.NewReader(bufio.NewReader(conn)), bind: bind}
	code, text, err := r.reply()
	if err != nil || code != 220 {
		conn.Close()
		return nil, fmt.Errorf("greeting: %d %s, %w", code, text, err)
	}
	for name, s := range map[string]*server{"vsFTPd": c.vsftpd, "ready": c.pro, "Pure-FTPd": c.pure} {
		if strings.Contains(text, name) {
			c.mu.Lock()
			c.served[name]++
			c.mu.Unlock()
			return &visitor{r, s}, nil
		}
	}
	conn.Close()
	return nil, fmt.Errorf("a greeting of nobody: %s", text)
}

// stay logs in and fetches the file that says whose it is.
func (v *visitor) stay() error {
	defer v.Close()
	if err := v.login(v.server.user, v.server.pass); err != nil {
		return err
	}
	want, err := os.ReadFile(filepath.Join(v.server.root, "which"))
	if err != nil {
		return err
	}
	at, err := v.passive()
	if err != nil {
		return err
	}
	got, err := v.fetch("which", at)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("the file is %q, but the greeting is that of %q", got, want)
	}
	return err
}

// TestFailover: of 100 clients that nothing of a dying server has been sent to, all get in
// while another server lives, under each policy: one server is silent, one drops each SYN, and
// one is killed in the middle.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"first", "roundrobin", "leastconn", "random", "source"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			c := startCrew(t)
			conf := configure(t, c.place, c.silent, c.full, c.pro.addr, c.vsftpd.addr, c.pure.addr)
			conf.timeouts = map[string]string{"greeting": "2s", "connect": "1s"}
			conf.backend = fmt.Sprintf("balance = %q", policy)
			p := startProxy(t, conf)

			// Of those that ProFTPD has greeted one is there when it dies.
			var there *visitor
			for range 40 {
				v, err := c.enter(p.addr4)
				if err != nil {
					t.Fatal(err)
				}
				if v.server == c.pro {
					there = v
					break
				}
				if err := v.stay(); err != nil {
					t.Fatal(err)
				}
			}
			all(t, 30, func(int) error { return c.visit(p.addr4) })
			c.pro.process.kill()
			if there != nil {
				killed := time.Now()
				if code, text, err := there.command("NOOP"); err != nil || code != 421 || time.Since(killed) > time.Second {
					t.Errorf("who was at the dead server hears %d %s (%v) after %v", code, text, err, time.Since(killed))
				}
				there.Close()
				if err := c.visit(p.addr4); err != nil {
					t.Errorf("its next try: %v", err)
				}
			}
			all(t, 70, func(int) error { return c.visit(p.addr4) })
			if policy == "first" && (c.accepted.Load() == 0 || there == nil) {
				t.Error("nobody has tried the silent server, or has been at ProFTPD")
			}
			waitFor(t, "all places are given back", patience, func() bool { return p.metrics(t)["ftproxy_server_sessions"] == 0 })
			t.Logf("served: %v; the silent one was tried %d times", c.served, c.accepted.Load())
		})
	}
}

func (c *crew) visit(at netip.AddrPort) error {
	v, err := c.enter(at)
	if err != nil {
		return err
	}
	return v.stay()
}

// TestServersReloaded: the servers of a backend change by SIGHUP, again and again, under fifty busy
// clients. None is lost, and who is at a server stays there to the end.
func TestServersReloaded(t *testing.T) {
	t.Parallel()
	c := startCrew(t)
	conf := configure(t, c.place, c.pro.addr)
	conf.backend = "balance = \"leastconn\""
	p := startProxy(t, conf)
	old, err := c.enter(p.addr4)
	if err != nil || old.server != c.pro {
		t.Fatalf("the only server is not the one: %v", err)
	}
	const reloads = 12
	stop := make(chan struct{})
	var visits atomic.Int64
	var busy sync.WaitGroup
	for range 50 {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.visit(p.addr4); err != nil {
					t.Errorf("after %d visits: %v", visits.Load(), err)
					return
				}
				visits.Add(1)
			}
		})
	}
	sets := [][]netip.AddrPort{{c.vsftpd.addr, c.pure.addr}, {c.pure.addr}, {c.vsftpd.addr, c.pro.addr}, {c.pure.addr, c.vsftpd.addr, c.pro.addr}}
	for i := range reloads {
		conf.servers = sets[i%len(sets)]
		before := visits.Load()
		write(t, p.path, conf.text(p.admin))
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "clients went on", patience, func() bool { return visits.Load() >= before+25 || t.Failed() })
	}
	close(stop)
	busy.Wait()
	old.SetDeadline(time.Now().Add(patience))
	if err := old.stay(); err != nil {
		t.Errorf("who was at the first server: %v", err)
	}
	if n := strings.Count(p.out.String(), "reloaded"); n < reloads {
		t.Errorf("%d reloads are in the log, want %d", n, reloads)
	}
	waitFor(t, "all places are given back", patience, func() bool { return p.metrics(t)["ftproxy_sessions_active"] == 0 })
	t.Logf("%d visits, served: %v", visits.Load(), c.served)
}

// A dummy greets, and answers nothing.
type dummy struct {
	net.Listener
	conns sync.Map
}

func startDummy(t *testing.T, at netip.AddrPort) *dummy {
	t.Helper()
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	d := &dummy{Listener: l}
	t.Cleanup(func() { d.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.conns.Store(conn, nil)
			fmt.Fprint(conn, "220 ready\r\n")
		}
	}()
	t.Cleanup(func() {
		d.conns.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
	})
	return d
}

// TestCloseWhenDown: a frontend closes its port while no server of its backend works. Who is there
// stays, and the other frontend's socket is not touched.
func TestCloseWhenDown(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	at := netip.AddrPortFrom(p.server, freePort(t, p.server))
	server := startDummy(t, at)
	conf, other := configure(t, p, at), netip.AddrPortFrom(p.client, freePort(t, p.client))
	conf.frontend = "close_when_down = true"
	conf.more = fmt.Sprintf("[backend.inside.check]\nkind = \"tcp\"\ninterval = \"100ms\"\nrise = 1\nfall = 2\n"+
		"[frontend.other]\nlisten = %q\nbackend = \"inside\"\npassive_ports = %q\n", other, conf.passive)
	proxy := startProxy(t, conf)
	open := func(to netip.AddrPort) bool {
		conn, err := net.DialTimeout("tcp", to.String(), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	there, code, err := dialRaw(p.client, proxy.addr4, patience)
	if err != nil || code != 220 {
		t.Fatalf("greeting: %d, %v", code, err)
	}
	defer there.Close()
	for range 3 {
		server.Close()
		waitFor(t, "the port is closed", patience, func() bool { return !open(proxy.addr4) })
		there.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := there.Read(make([]byte, 1)); err == nil || !os.IsTimeout(err) {
			t.Fatalf("who was there: %v", err)
		}
		server = startDummy(t, at)
		waitFor(t, "the port is open again", patience, func() bool { return open(proxy.addr4) })
	}
	if !open(other) {
		t.Error("the other frontend does not listen")
	}
}
