package integration

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftproxy/internal/ftptest"
)

// A filezilla is Debian's FileZilla on a screen that nobody sees, with a home of its own.
type filezilla struct {
	*process
	home, display string
}

// fileZillaQueue is a script that writes what FileZilla is to move into its data base: host,
// port, user, password, then for each file 16 for a download or 0 for an upload, its local path, and its name
// there. All are in one folder of the server, which is the fifth argument.
const fileZillaQueue = `
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("""
CREATE TABLE servers (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, host TEXT NOT NULL, port INTEGER, user TEXT, password TEXT, account TEXT, keyfile TEXT, protocol INTEGER, type INTEGER, logontype INTEGER, timezone_offset INTEGER, transfer_mode TEXT, max_connections INTEGER, encoding TEXT, bypass_proxy INTEGER, post_login_commands TEXT, name TEXT, parameters TEXT, site_path TEXT DEFAULT NULL);
CREATE TABLE files (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, server INTEGER NOT NULL, source_file TEXT, target_file TEXT, local_path INTEGER, remote_path INTEGER, size INTEGER, error_count INTEGER, priority INTEGER, flags INTEGER, default_exists_action INTEGER, extra_flags TEXT);
CREATE INDEX server_index ON files (server);
CREATE TABLE local_paths (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, path TEXT NOT NULL);
CREATE TABLE remote_paths (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, path TEXT NOT NULL);
PRAGMA user_version = 7;
""")
host, port, user, password, folder = sys.argv[2:7]
db.execute("INSERT INTO servers VALUES (1, ?, ?, ?, ?, NULL, NULL, 4, 0, 1, 0, 'MODE_DEFAULT', 0, 'Auto', 0, NULL, NULL, NULL, NULL)", (host, int(port), user, password))
db.execute("INSERT INTO remote_paths VALUES (1, ?)", ("1 0 " + " ".join("%d %s" % (len(p), p) for p in folder.strip("/").split("/")),))
files = sys.argv[7:]
for i in range(0, len(files), 2):
    directory, name = os.path.split(files[i+1])
    db.execute("INSERT INTO local_paths VALUES (?, ?)", (i+1, directory + "/"))
    db.execute("INSERT INTO files VALUES (?, 1, ?, NULL, ?, 1, ?, 0, 2, ?, 0, NULL)", (i+1, name, i+1, os.path.getsize(files[i+1]) if files[i] == "0" else -1, int(files[i])))
db.commit()
`

// fileZillaSettings have no dialog, and a log.
const fileZillaSettings = `<?xml version="1.0" encoding="UTF-8"?>
<FileZilla3 version="3.63.0" platform="*nix"><Settings>
<Setting name="Greeting version">99.0.0</Setting>
<Setting name="Greeting resources"/>
<Setting name="Update Check">0</Setting>
<Setting name="Disable update check">1</Setting>
<Setting name="Logging file">%s</Setting>
<Setting name="Logging Debug Level">2</Setting>
<Setting name="Master password encryptor"/>
<Setting name="File exists action download">1</Setting>
<Setting name="File exists action upload">1</Setting>
<Setting name="Prompt password save">1</Setting>
<Setting name="Kiosk mode">0</Setting>
</Settings></FileZilla3>
`

const fileZillaTrust = `<?xml version="1.0" encoding="UTF-8"?>
<FileZilla3 version="3.63.0" platform="*nix"><TrustedCerts><Certificate>
<Data>%[1]s</Data><ActivationTime>%[2]d</ActivationTime><ExpirationTime>%[3]d</ExpirationTime><Host>%[4]s</Host><Port>%[5]d</Port><TrustSANs>1</TrustSANs>
</Certificate></TrustedCerts></FileZilla3>
`

// startFileZilla prepares its home and starts it: it connects and lists at once.
func startFileZilla(t *testing.T, to target, certificate ftptest.TestCertificate, folder string, files ...string) *filezilla {
	t.Helper()
	program, xvfb := command(t, "filezilla"), command(t, "Xvfb")
	f := &filezilla{home: shortFolder(t)}
	settings := filepath.Join(f.home, ".config", "filezilla")
	if err := os.MkdirAll(settings, 0o755); err != nil {
		t.Fatal(err)
	}
	host, port := to.addr.Addr().String(), to.addr.Port()
	write(t, filepath.Join(settings, "filezilla.xml"), fmt.Sprintf(fileZillaSettings, filepath.Join(f.home, "log")))
	queue := exec.Command(python(t), append([]string{"-c", fileZillaQueue, filepath.Join(settings, "queue.sqlite3"), host, fmt.Sprint(port), to.user, to.pass, folder}, files...)...)
	if out, err := queue.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write(t, filepath.Join(settings, "trustedcerts.xml"), fmt.Sprintf(fileZillaTrust, hex.EncodeToString(certificate.Leaf.Raw),
		certificate.Leaf.NotBefore.Unix(), certificate.Leaf.NotAfter.Unix(), host, port))

	number, err := os.Create(filepath.Join(f.home, "display"))
	if err != nil {
		t.Fatal(err)
	}
	defer number.Close()
	screen := exec.Command(xvfb, "-displayfd", "3", "-screen", "0", "1200x900x24", "-nolisten", "tcp")
	screen.ExtraFiles = []*os.File{number}
	start(t, "Xvfb", screen)
	waitFor(t, "the screen", patience, func() bool {
		text, err := os.ReadFile(number.Name())
		f.display = ":" + strings.TrimSpace(string(text))
		return err == nil && strings.HasSuffix(string(text), "\n")
	})
	cmd := exec.Command(program, fmt.Sprintf("ftpes://%s:%s@%s", to.user, to.pass, to.addr), "--local="+f.home)
	cmd.Env = f.env()
	f.process = start(t, "filezilla", cmd)
	return f
}

func (f *filezilla) env() []string {
	return append(os.Environ(), "HOME="+f.home, "XDG_CONFIG_HOME="+filepath.Join(f.home, ".config"), "DISPLAY="+f.display, "LANG=C.UTF-8", "NO_AT_BRIDGE=1")
}

// log is what FileZilla has said of its connections.
func (f *filezilla) log() string {
	text, _ := os.ReadFile(filepath.Join(f.home, "log"))
	return string(text)
}

// key presses a key in the main window.
func (f *filezilla) key(t *testing.T, key string) {
	t.Helper()
	cmd := exec.Command(command(t, "xdotool"), "search", "--sync", "--onlyvisible", "--name", " - FileZilla$", "windowfocus", "key", "--clearmodifiers", key)
	cmd.Env = f.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xdotool: %v\n%s\n%s", err, out, f.log())
	}
}

// warns tells whether it shows the window "Insecure FTP data connection: This server does
// not support TLS session resumption on the data connection. … transferred files may be
// intercepted". Nothing goes on until somebody has closed it.
func (f *filezilla) warns(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command(command(t, "xdotool"), "search", "--onlyvisible", "--name", "Insecure")
	cmd.Env = f.env()
	out, err := cmd.Output()
	return err == nil && len(out) > 0
}

// TestFileZilla: FileZilla lists, downloads and uploads under TLS. Unless session reuse is
// off, it does not warn that its data connections could be intercepted (which is what the
// settings "offer" and "require" are for). Clients that cannot
// resume use the same setting: TestReuseOffered.
func TestFileZilla(t *testing.T) {
	throughProxy(t)
	for _, reuse := range []string{"off", "offer", "require"} {
		t.Run(reuse, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			root := folder(t)
			s := startVsftpd(t, p.server, root)
			outside := certificateFor(t, p.proxy)
			c := configure(t, p, s.addr)
			c.frontend = fmt.Sprintf("tls = { mode = \"required\", certificate = %q, session_reuse = %q }", outside.File, reuse)
			ftproxy := startProxy(t, c)
			to := target{addr: ftproxy.addr4, user: s.user, pass: s.pass}
			local, down, up := t.TempDir(), content("down", 300_000), content("up", 200_000)
			write(t, filepath.Join(root, "down.bin"), string(down))
			write(t, filepath.Join(local, "up.bin"), string(up))
			f := startFileZilla(t, to, outside, root, "16", filepath.Join(local, "down.bin"), "0", filepath.Join(local, "up.bin"))
			if reuse == "off" {
				waitFor(t, "FileZilla's warning", patience, func() bool { return f.warns(t) })
				return
			}
			waitFor(t, "the listing", patience, func() bool {
				return strings.Contains(f.log(), "Directory listing of") && strings.Contains(f.log(), "successful")
			})
			f.key(t, "ctrl+p") // Process the queue. On a busy machine the first one may be lost.
			if !holdsWithin(10*time.Second, func() bool { return strings.Contains(f.log(), "Status: Starting ") }) {
				f.key(t, "ctrl+p")
			}
			waitFor(t, "both files", patience, func() bool { return strings.Count(f.log(), "File transfer successful") == 2 })
			for name, want := range map[string][]byte{filepath.Join(local, "down.bin"): down, filepath.Join(root, "up.bin"): up} {
				if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes of %d (%v)", name, len(got), len(want), err)
				}
			}
			if f.warns(t) {
				t.Error("FileZilla warns of its data connections")
			}
			if t.Failed() {
				t.Log(f.log())
			}
		})
	}
}
