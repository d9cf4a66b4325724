package integration

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"
)

// A server is a running FTP server whose login folder is root.
type server struct {
	kind       serverKind
	addr       netip.AddrPort
	root       string
	user, pass string
	log        func() string // what it logged of addresses and commands
	implicit   bool          // connections begin with TLS
	process    *process      // nil: the test is the server
}

// A serverKind knows how to run one of the servers.
type serverKind struct {
	name    string
	start   func(t *testing.T, addr netip.Addr, root string) *server
	version func(t testing.TB) (string, error)
	// wildcardDial tells that its active data connections do not come from
	// the address it listens on, so it must live at 127.0.0.1.
	wildcardDial bool
}

var serverKinds = []serverKind{
	{name: "vsftpd", start: startVsftpd, version: vsftpdVersion},
	{name: "proftpd", start: startProFTPD, version: proftpdVersion},
	{name: "pure-ftpd", start: startPureFTPd, version: pureFTPdVersion},
	{name: "pyftpdlib", start: startPyftpdlib, version: pyftpdlibVersion},
	{name: "inetutils-ftpd", start: startInetutils, version: inetutilsVersion},
	{name: "embedded", start: startEmbedded, version: embeddedVersion, wildcardDial: true},
}

func serverNamed(name string) serverKind {
	for _, k := range serverKinds {
		if k.name == name {
			return k
		}
	}
	panic("no server " + name)
}

func (k serverKind) address(p place) netip.Addr {
	if k.wildcardDial {
		return netip.MustParseAddr("127.0.0.1")
	}
	return p.server
}

const password = "secret"

// startVsftpd runs vsftpd as the launching user: no chroot, no change of user,
// nothing of the system is touched. Its login folder is root, but "/" is the
// machine's, so clients use relative names.
func startVsftpd(t *testing.T, addr netip.Addr, root string) *server {
	t.Helper()
	return startVsftpdWith(t, addr, root, "", serverTLS{})
}

// startVsftpdWith adds lines to the configuration.
func startVsftpdWith(t *testing.T, addr netip.Addr, root, more string, protected serverTLS) *server {
	t.Helper()
	path := unpacked(t, "vsftpd", "usr/sbin/vsftpd")
	dir := t.TempDir()
	s := &server{addr: netip.AddrPortFrom(addr, freePort(t, addr)), root: root, user: "anonymous", pass: "ftp@example.com", implicit: protected.implicit}
	listen := fmt.Sprintf("listen=YES\nlisten_address=%s", addr)
	if addr.Is6() {
		listen = fmt.Sprintf("listen=NO\nlisten_ipv6=YES\nlisten_address6=%s", addr)
	}
	conf := filepath.Join(dir, "vsftpd.conf")
	log := filepath.Join(dir, "vsftpd.log")
	write(t, conf, fmt.Sprintf(`%s
listen_port=%d
background=NO
anonymous_enable=YES
local_enable=NO
anon_root=%s
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
run_as_launching_user=YES
secure_chroot_dir=%s
nopriv_user=nobody
ftp_username=nobody
seccomp_sandbox=NO
connect_from_port_20=%s
max_per_ip=0
xferlog_enable=YES
xferlog_std_format=NO
log_ftp_protocol=YES
vsftpd_log_file=%s
%s
`, listen, s.addr.Port(), root, dir, map[bool]string{true: "YES", false: "NO"}[os.Geteuid() == 0], log, protected.vsftpd()+more))
	s.run(t, exec.Command(path, conf), log)
	return s
}

// startProFTPD runs ProFTPD standalone in the foreground with a user of its own.
func startProFTPD(t *testing.T, addr netip.Addr, root string) *server {
	t.Helper()
	return startProFTPDWith(t, netip.AddrPortFrom(addr, freePort(t, addr)), root, "", serverTLS{})
}

// startProFTPDWith adds lines to the configuration.
func startProFTPDWith(t *testing.T, addr netip.AddrPort, root, more string, protected serverTLS) *server {
	t.Helper()
	path := unpacked(t, "proftpd-core", "usr/sbin/proftpd")
	dir := t.TempDir()
	s := &server{addr: addr, root: root, user: "test", pass: password, implicit: protected.implicit}
	name, group, uid, gid := "nobody", "nogroup", nobody, nobody
	if os.Geteuid() != 0 {
		uid, gid = os.Getuid(), os.Getgid()
		if u, err := user.Current(); err == nil {
			name = u.Username
			if g, err := user.LookupGroupId(u.Gid); err == nil {
				group = g.Name
			}
		}
	}
	users := filepath.Join(dir, "users")
	write(t, users, fmt.Sprintf("test:%s:%d:%d::%s:/bin/sh\n", hash, uid, gid, root))
	if err := os.Chmod(users, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "proftpd.conf")
	log := filepath.Join(dir, "commands.log")
	write(t, conf, fmt.Sprintf(`ServerName test
ServerIdent on "ready"
ServerType standalone
ModulePath %[1]s
DefaultAddress %[2]s
SocketBindTight on
Port %[3]d
UseReverseDNS off
RequireValidShell off
AuthUserFile %[4]s/users
AuthOrder mod_auth_file.c
PidFile %[4]s/pid
ScoreboardFile %[4]s/scoreboard
User %[5]s
Group %[6]s
Umask 022
MaxInstances none
AllowOverwrite on
AllowStoreRestart on
AllowRetrieveRestart on
WtmpLog off
TransferLog none
SystemLog %[4]s/system.log
LogFormat commands "%%a %%m %%J %%s"
ExtendedLog %[7]s ALL commands
<IfModule mod_delay.c>
DelayEngine off
</IfModule>
<IfModule mod_ident.c>
IdentLookups off
</IfModule>
<IfModule mod_ctrls.c>
ControlsEngine off
ControlsSocket %[4]s/controls
</IfModule>
%[8]s
`, proftpdModules(t, path, protected), addr.Addr(), addr.Port(), dir, name, group, log, protected.proftpd(dir)+more))
	s.run(t, exec.Command(path, "-n", "-q", "-c", conf), log)
	return s
}

// run starts a server's program, waits for its greeting and keeps its log.
func (s *server) run(t *testing.T, cmd *exec.Cmd, log string) {
	t.Helper()
	name := filepath.Base(cmd.Path)
	s.log = fileLog(log)
	t.Cleanup(func() { // after the process has ended
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, tail(s.log(), 150))
		}
	})
	p := start(t, name, cmd)
	s.process = p
	waitFor(t, name+" answers", time.Minute, func() bool {
		if !p.running() {
			t.Fatalf("%s ended: %v\n%s", name, p.err, p.out)
		}
		return s.greets()
	})
}

// greets reports whether the server greets with 220.
func (s *server) greets() bool {
	c, err := net.DialTimeout("tcp", s.addr.String(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if s.implicit {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	c.SetDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 512)
	n, _ := c.Read(buf)
	if !strings.HasPrefix(string(buf[:n]), "220") {
		return false
	}
	fmt.Fprint(c, "QUIT\r\n")
	c.Read(buf)
	return true
}

// startEmbedded runs an FTP server inside the test process.
func startEmbedded(t *testing.T, addr netip.Addr, root string) *server {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		addr: l.Addr().(*net.TCPAddr).AddrPort(), root: root, user: "test", pass: password,
		log: func() string { return "" },
	}
	f := ftpserver.NewFtpServer(&embedded{listener: l, root: root})
	if err := f.Listen(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Serve() // its error is that of Stop
	}()
	t.Cleanup(func() {
		f.Stop()
		<-done
	})
	return s
}

// embedded is the driver of the embedded server: one account, one folder.
type embedded struct {
	listener net.Listener
	root     string
}

func (e *embedded) GetSettings() (*ftpserver.Settings, error) {
	return &ftpserver.Settings{Listener: e.listener, ActiveTransferPortNon20: true, IdleTimeout: 600}, nil
}

func (e *embedded) ClientConnected(ftpserver.ClientContext) (string, error) { return "ready", nil }
func (e *embedded) ClientDisconnected(ftpserver.ClientContext)              {}
func (e *embedded) GetTLSConfig() (*tls.Config, error)                      { return nil, errors.New("no TLS") }

func (e *embedded) AuthUser(_ ftpserver.ClientContext, user, pass string) (ftpserver.ClientDriver, error) {
	if user != "test" || pass != password {
		return nil, errors.New("wrong user or password")
	}
	return afero.NewBasePathFs(afero.NewOsFs(), e.root), nil
}

// comma is an address as PORT and 227 write it.
func comma(a netip.Addr) string { return strings.ReplaceAll(a.String(), ".", ",") }

// nobody is Debian's user id and group id for a program that owns nothing.
// Below root, ProFTPD works as nobody.
const nobody = 65534

// own gives a path to nobody. Only root can, and only root needs to.
func own(t testing.TB, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Lchown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
}

// folder returns an empty folder that nobody can reach and write to.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, dir)
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
