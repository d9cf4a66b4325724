package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A serviceManager is systemd's end of the notify socket.
type serviceManager struct {
	name     string
	messages chan string // all but those for the watchdog
	beats    atomic.Int32
}

// socketDir is a folder whose name is short enough: a socket's path may have
// 107 bytes.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ftproxy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func listenNotify(t *testing.T) *serviceManager {
	t.Helper()
	m := &serviceManager{name: filepath.Join(socketDir(t), "notify"), messages: make(chan string, 100)}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.listen(conn)
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return m
}

func (m *serviceManager) listen(conn *net.UnixConn) {
	b := make([]byte, 4096)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if message := string(b[:n]); message == "WATCHDOG=1" {
			m.beats.Add(1)
		} else {
			m.messages <- message
		}
	}
}

// expect takes the next messages, which must match the patterns.
func (m *serviceManager) expect(t *testing.T, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		select {
		case got := <-m.messages:
			if !regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(got) {
				t.Errorf("told %q, want %s", got, pattern)
			}
		case <-time.After(patience):
			t.Fatalf("not told within %v: %s", patience, pattern)
		}
	}
}

// notified runs the unit's ExecStart with a service manager to tell.
func notified(t *testing.T, config string, m *serviceManager) *process {
	t.Helper()
	argv := readUnit(t).command(t, "ExecStart", config)
	cmd := ftproxyCommand(argv...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.name, "WATCHDOG_USEC=100000", "WATCHDOG_PID=")
	return start(t, "ftproxy", cmd)
}

// The service manager is told that ftproxy is ready once clients can connect,
// that it reloads and what came of it, that it stops and how long that may
// take, and all the time that it lives.
func TestNotify(t *testing.T) {
	throughProxy(t)
	p := newPlace(t)
	s := startEmbedded(t, p.server, folder(t))
	c := configure(t, p, s.addr)
	c.timeouts = map[string]string{"shutdown_delay": "1ms", "drain": "40m"}
	c.more = "[control]\nsocket = " + strconv.Quote(filepath.Join(socketDir(t), "control.sock"))
	path := filepath.Join(t.TempDir(), "config.toml")
	good := c.text(netip.AddrPort{})
	good = strings.Replace(good, `listen = "`+netip.AddrPort{}.String()+`"`, `listen = ""`, 1)
	write(t, path, good)

	manager := listenNotify(t)
	ftproxy := notified(t, path, manager)
	manager.expect(t, "READY=1")
	greeted(t, c.listen)

	const reloading = `RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*`
	ftproxy.cmd.Process.Signal(syscall.SIGHUP)
	manager.expect(t, reloading, "STATUS=", "READY=1")
	write(t, path, good+"nonsense = 1\n")
	ftproxy.cmd.Process.Signal(syscall.SIGHUP)
	manager.expect(t, reloading, "STATUS=The last reload was refused.*", "READY=1")
	greeted(t, c.listen)
	write(t, path, strings.Replace(good, fmt.Sprintf("passive_ports = %q", p.passive), fmt.Sprintf(`passive_ports = "%d"`, p.passive.first), 1))
	argv := readUnit(t).command(t, "ExecReload", path)
	if out, err := ftproxyCommand(argv...).CombinedOutput(); err != nil || !strings.Contains(string(out), "passive_ports") {
		t.Errorf("%q: %v\n%s", argv, err, out)
	}
	manager.expect(t, reloading, "STATUS=", "READY=1")

	r, code, err := dialRaw(p.client, c.listen[0], patience)
	if err != nil || code != 220 {
		t.Fatal(code, err)
	}
	defer r.Close()
	if err := r.login(s.user, s.pass); err != nil {
		t.Fatal(err)
	}
	beats := manager.beats.Load()
	waitFor(t, "the watchdog is fed", patience, func() bool { return manager.beats.Load() > beats+3 })

	// A transfer that nobody reads keeps ftproxy in service.
	big := filepath.Join(s.root, "big")
	write(t, big, "")
	if err := os.Truncate(big, 1<<30); err != nil {
		t.Fatal(err)
	}
	data, err := r.passive()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.client, 0))}).Dial("tcp", data.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := r.expect(150, "RETR big"); err != nil {
		t.Fatal(err)
	}
	ftproxy.cmd.Process.Signal(syscall.SIGTERM)
	manager.expect(t, "STOPPING=1", "STATUS=Leaving service.*", `EXTEND_TIMEOUT_USEC=24[0-9]{8}`)
	beats = manager.beats.Load()
	waitFor(t, "the watchdog is fed while ftproxy stops", patience, func() bool { return manager.beats.Load() > beats+3 })
	if code := ftproxy.stop(t, syscall.SIGTERM); !readUnit(t).success(code) || code == 0 {
		t.Errorf("exit code %d of a stop that cut a transfer", code)
	}
	select {
	case message := <-manager.messages:
		t.Errorf("told %q after all", message)
	default:
	}
}

// greeted fails the test unless each address greets, without a second try.
func greeted(t *testing.T, addrs []netip.AddrPort) {
	t.Helper()
	for _, addr := range addrs {
		r, code, err := dialRaw(netip.Addr{}, addr, patience)
		if err != nil || code != 220 {
			t.Errorf("%s: greeting %d, %v", addr, code, err)
			continue
		}
		r.Close()
	}
}

// success reports whether an exit code is a success to systemd.
func (u unit) success(code int) bool {
	for _, line := range u["SuccessExitStatus"] {
		for word := range strings.FieldsSeq(line) {
			if word == strconv.Itoa(code) {
				return true
			}
		}
	}
	return code == 0
}

// An ftproxy that does not come up is never ready, and is not started again.
func TestNotifyFailedStart(t *testing.T) {
	throughProxy(t)
	p := newPlace(t)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(p.proxy, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := configure(t, p, netip.AddrPortFrom(p.server, 21))
	c.listen[0] = taken.Addr().(*net.TCPAddr).AddrPort()
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, c.text(netip.AddrPortFrom(p.proxy, freePort(t, p.proxy))))
	manager := listenNotify(t)
	ftproxy := notified(t, path, manager)
	select {
	case <-ftproxy.done:
	case <-time.After(patience):
		t.Fatal("ftproxy still runs")
	}
	if code := strconv.Itoa(ftproxy.exitCode()); code != readUnit(t).one(t, "RestartPreventExitStatus") {
		t.Errorf("exit code %s:\n%s", code, ftproxy.out)
	}
	select {
	case message := <-manager.messages:
		t.Errorf("told %q", message)
	default:
	}
}
