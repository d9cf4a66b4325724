package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// hash is that of the constant password, as crypt(3) makes it.
const hash = "$6$ftproxy$BANKGOynCYg2gmW7x4jOrZRs0LyLTHzfPl9ZWXnP7yVXGrhVgkqrM1otkEkqrB9pEzqzvyWGu8gG/hMdrmB0v1"

// needRoot ends a test of a server that changes its user.
func needRoot(t *testing.T, server string) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, server+" runs as root only")
	}
}

// startPureFTPd runs pure-ftpd with a user of its own, whose login folder is
// his "/". It logs transfers only.
func startPureFTPd(t *testing.T, addr netip.Addr, root string) *server {
	t.Helper()
	return startPureFTPdWith(t, addr, root, serverTLS{})
}

func startPureFTPdWith(t *testing.T, addr netip.Addr, root string, protected serverTLS) *server {
	t.Helper()
	needRoot(t, "pure-ftpd")
	path := unpacked(t, "pure-ftpd", "usr/sbin/pure-ftpd")
	dir := t.TempDir()
	s := &server{addr: netip.AddrPortFrom(addr, freePort(t, addr)), root: root, user: "test", pass: password}
	users, db := filepath.Join(dir, "users"), filepath.Join(dir, "users.pdb")
	write(t, users, fmt.Sprintf("test:%s:%d:%d::%s/./::::::::::::\n", hash, nobody, nobody, root))
	makedb := exec.Command(filepath.Join(filepath.Dir(path), "../bin/pure-pw"), "mkdb", db, "-f", users)
	if out, err := makedb.CombinedOutput(); err != nil {
		t.Fatalf("pure-pw: %v\n%s", err, out)
	}
	log := filepath.Join(dir, "transfers.log")
	args := []string{"-S", fmt.Sprintf("%s,%d", addr, s.addr.Port()), "-l", "puredb:" + db, "-u", "1",
		"-H", "-E", "-c", "500", "-g", filepath.Join(dir, "pid"), "-O", "clf:" + log}
	s.run(t, exec.Command(path, append(args, protected.pureFTPd()...)...), log)
	return s
}

// startPyftpdlib runs testdata/pyftpd.py.
func startPyftpdlib(t *testing.T, addr netip.Addr, root string) *server {
	t.Helper()
	module := unpacked(t, "python3-pyftpdlib", "usr/lib/python3/dist-packages/pyftpdlib")
	s := &server{addr: netip.AddrPortFrom(addr, freePort(t, addr)), root: root, user: "test", pass: password}
	order, err := json.Marshal(map[string]any{
		"host": addr.String(), "port": s.addr.Port(), "root": root, "user": s.user, "password": s.pass,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python(t), "testdata/pyftpd.py")
	cmd.Stdin = strings.NewReader(string(order))
	cmd.Env = environ(t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+filepath.Dir(module))
	log := filepath.Join(t.TempDir(), "commands.log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	s.run(t, cmd, log)
	return s
}

// startInetutils runs the BSD server of the GNU inetutils, one process for each
// connection as inetd does. Its account is that of a wrapped /etc/passwd.
func startInetutils(t *testing.T, addr netip.Addr, root string) *server {
	t.Helper()
	needRoot(t, "inetutils-ftpd")
	path := unpacked(t, "inetutils-ftpd", "usr/sbin/ftpd")
	wrapper := unpacked(t, "libnss-wrapper", "usr/lib/*/libnss_wrapper.so")
	dir := t.TempDir()
	passwd, group, shadow, hosts := filepath.Join(dir, "passwd"), filepath.Join(dir, "group"), filepath.Join(dir, "shadow"), filepath.Join(dir, "hosts")
	write(t, passwd, fmt.Sprintf("test:x:%d:%d::%s:/bin/sh\n", nobody, nobody, root))
	write(t, group, fmt.Sprintf("nogroup:x:%d:\n", nobody))
	write(t, shadow, fmt.Sprintf("test:%s:19000:0:99999:7:::\n", hash))
	write(t, hosts, "127.0.0.1 localhost\n::1 localhost\n") // no DNS for the names of clients
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	env := environ(dir, "LD_PRELOAD="+wrapper, "NSS_WRAPPER_PASSWD="+passwd, "NSS_WRAPPER_GROUP="+group,
		"NSS_WRAPPER_SHADOW="+shadow, "NSS_WRAPPER_HOSTS="+hosts)
	s := &server{root: root, user: "test", pass: password, log: func() string { return "" }}
	s.addr = inetd(t, addr, func() *exec.Cmd {
		cmd := exec.Command(path, "-a", "default", "-u", "022")
		cmd.Env = env
		return cmd
	})
	return s
}

// inetd starts a program for every connection, which is its stdin and stdout.
func inetd(t *testing.T, addr netip.Addr, program func() *exec.Cmd) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		running = make(map[*os.Process]bool)
		closed  bool
	)
	serve := func(conn net.Conn) {
		f, err := conn.(*net.TCPConn).File()
		conn.Close()
		if err != nil {
			t.Errorf("inetd: %v", err)
			return
		}
		cmd := program()
		cmd.Stdin, cmd.Stdout = f, f
		mu.Lock()
		if closed {
			mu.Unlock()
			f.Close()
			return
		}
		err = cmd.Start()
		if err == nil {
			running[cmd.Process] = true
		}
		mu.Unlock()
		f.Close()
		if err != nil {
			t.Errorf("inetd: %v", err)
			return
		}
		cmd.Wait()
		mu.Lock()
		delete(running, cmd.Process)
		mu.Unlock()
	}
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		closed = true
		for p := range running {
			p.Kill()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// versions of the servers.

func vsftpdVersion(t testing.TB) (string, error) {
	// It prints to its stdin, as if that were a client's connection.
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	cmd := exec.Command(unpacked(t, "vsftpd", "usr/sbin/vsftpd"), "-v")
	cmd.Stdin = w
	err = cmd.Run()
	w.Close()
	buf := make([]byte, 200)
	n, _ := r.Read(buf)
	_, version, ok := strings.Cut(strings.TrimSpace(string(buf[:n])), "version ")
	if !ok {
		return "", fmt.Errorf("vsftpd -v: %q, %v", buf[:n], err)
	}
	return version, nil
}

func proftpdVersion(t testing.TB) (string, error) {
	return firstLine(exec.Command(unpacked(t, "proftpd-core", "usr/sbin/proftpd"), "-v"), `ProFTPD Version (\S+)`)
}

func pureFTPdVersion(t testing.TB) (string, error) {
	return firstLine(exec.Command(unpacked(t, "pure-ftpd", "usr/sbin/pure-ftpd"), "--help"), `pure-ftpd v(\S+)`)
}

func pyftpdlibVersion(t testing.TB) (string, error) {
	module := unpacked(t, "python3-pyftpdlib", "usr/lib/python3/dist-packages/pyftpdlib")
	cmd := exec.Command(python(t), "-W", "ignore", "-c", "import sys, pyftpdlib; print(pyftpdlib.__ver__, 'on Python', sys.version)")
	cmd.Env = environ(t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+filepath.Dir(module))
	return firstLine(cmd, `(\S+ on Python \S+)`)
}

func inetutilsVersion(t testing.TB) (string, error) {
	return firstLine(exec.Command(unpacked(t, "inetutils-ftpd", "usr/sbin/ftpd"), "--version"), `inetutils\) (\S+)`)
}

func embeddedVersion(testing.TB) (string, error) {
	v, err := moduleVersion("github.com/fclairamb/ftpserverlib")
	return "ftpserverlib " + v, err
}
