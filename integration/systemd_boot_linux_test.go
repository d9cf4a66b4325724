package integration

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A booted is a systemd at work in namespaces of its own, with the unit and
// ftproxy installed as docs/operations.md says.
type booted struct {
	*process
	t    *testing.T
	init string // the process id of its process 1, out here
}

const bootedConfig = `[control]
socket = "/run/ftproxy/control.sock"
[frontend.public]
listen = "127.0.0.1:21"
passive_ports = "30000-30009"
backend = "inside"
[backend.inside]
servers = "%s"
data_ports = "31000-31009"
`

// boot starts systemd within a network namespace.
func boot(t *testing.T, n *netns, config string) *booted {
	t.Helper()
	command(t, "systemd-analyze") // of the same package
	dir := t.TempDir()
	program := plainBinary(t) // The race detector wants more than the unit allows.
	if program == "" {
		program = binary
	}
	for file, from := range map[string]string{
		"usr/bin/ftproxy":                    program,
		"etc/systemd/system/ftproxy.service": unitFile,
		"usr/lib/sysusers.d/ftproxy.conf":    filepath.Join(filepath.Dir(unitFile), "ftproxy.sysusers"),
	} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		install(t, filepath.Join(dir, "add", file), content, 0o755)
	}
	install(t, filepath.Join(dir, "add/etc/ftproxy/config.toml"), []byte(config), 0o640)
	script, err := filepath.Abs("testdata/systemd.sh")
	if err != nil {
		t.Fatal(err)
	}
	b := &booted{t: t}
	cmd := exec.Command("sh", script, dir, controlGroup(t))
	n.do(t, func() { b.process = start(t, "systemd", cmd) })
	t.Cleanup(func() { // before start's own: the script ends with its process 1
		if b.init != "" {
			pid, err := strconv.Atoi(b.init)
			if err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	waitFor(t, "systemd is up", patience, func() bool {
		if !b.running() {
			lack(t, fmt.Sprintf("systemd does not run in namespaces here: %v\n%s", b.err, b.out))
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil || len(children) == 0 {
			return false
		}
		b.init = strings.Fields(string(children))[0]
		name, err := os.ReadFile(filepath.Join("/proc", b.init, "comm"))
		if err != nil || string(name) != "systemd\n" {
			return false
		}
		_, err = b.in("systemctl", "show", "nothing.target")
		return err == nil
	})
	b.must("systemctl", "start", "systemd-journald")
	b.must("systemd-sysusers")
	b.must("chown", "-R", "root:ftproxy", "/etc/ftproxy")
	b.must("chmod", "0750", "/etc/ftproxy")
	return b
}

func install(t *testing.T, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}

// controlGroup makes a control group that is removed with all in it.
func controlGroup(t *testing.T) string {
	t.Helper()
	var err error
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, missing := os.Stat(filepath.Join(at, "cgroup.controllers")); missing != nil {
			continue
		}
		var dir string
		if dir, err = os.MkdirTemp(at, "ftproxy-test-"); err != nil {
			continue
		}
		t.Cleanup(func() {
			waitFor(t, "the control group is empty", patience, func() bool { return removeGroup(dir) })
		})
		return dir
	}
	lack(t, fmt.Sprintf("no control groups (version 2) that can be written to: %v", err))
	return ""
}

// removeGroup removes a control group from the leaves up. Its files go with it.
func removeGroup(dir string) bool {
	inside, err := os.ReadDir(dir)
	if err != nil {
		return os.IsNotExist(err)
	}
	for _, e := range inside {
		if e.IsDir() && !removeGroup(filepath.Join(dir, e.Name())) {
			return false
		}
	}
	return syscall.Rmdir(dir) == nil
}

// in runs a command inside.
func (b *booted) in(argv ...string) (string, error) {
	cmd := exec.Command("nsenter", append([]string{"-t", b.init, "-a", "--"}, argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *booted) must(argv ...string) string {
	b.t.Helper()
	out, err := b.in(argv...)
	if err != nil {
		journal, _ := b.in("journalctl", "--no-pager", "-o", "cat", "-n", "50")
		b.t.Fatalf("%q: %v\n%s\njournal:\n%s", argv, err, out, journal)
	}
	return out
}

// show is a property of the unit.
func (b *booted) show(property string) string {
	b.t.Helper()
	return strings.TrimSpace(b.must("systemctl", "show", "ftproxy", "--value", "-p", property))
}

// is wants the unit to come to a state, and what else follows from it: name=value.
func (b *booted) is(state string, properties ...string) {
	b.t.Helper()
	waitFor(b.t, "the unit is "+state, patience, func() bool { return b.show("ActiveState") == state })
	for _, p := range properties {
		name, want, _ := strings.Cut(p, "=")
		if got := b.show(name); got != want {
			b.t.Errorf("%s: %s is %q, want %q", state, name, got, want)
		}
	}
}

// The unit as a real systemd runs it, with all that it forbids: ftproxy listens
// on port 21, transfers in both modes, reloads, refuses to reload, leaves
// service and stays out of it, comes back after a crash and not after a faulty
// configuration.
func TestUnitUnderSystemd(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	n := newNetns(t, "systemd")
	var s *server
	n.do(t, func() { s = startVsftpd(t, netip.MustParseAddr("127.0.0.2"), folder(t)) })
	config := fmt.Sprintf(bootedConfig, s.addr)
	b := boot(t, n, config)
	configure := func(text string) {
		t.Helper()
		b.must("sh", "-c", "cat >/etc/ftproxy/config.toml <<'END'\n"+text+"END")
	}

	b.must("systemctl", "start", "ftproxy")
	b.is("active", "NRestarts=0", "User=ftproxy")
	pid := b.show("MainPID")
	status := b.must("cat", "/proc/"+pid+"/status")
	const bind = "0000000000000400" // CAP_NET_BIND_SERVICE and no other
	for _, want := range []string{"CapEff:\t" + bind, "CapBnd:\t" + bind, "CapAmb:\t" + bind, "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("not %q in:\n%s", want, status)
		}
	}
	if got := b.must("stat", "-c", "%a %U %G", "/run/ftproxy", "/run/ftproxy/control.sock"); got != "750 ftproxy ftproxy\n660 ftproxy ftproxy\n" {
		t.Errorf("the control socket is %q", got)
	}

	ftp := func(args ...string) error {
		t.Helper()
		cmd := exec.Command(command(t, "curl"), append([]string{"-q", "-sS", "--max-time", "240"}, args...)...)
		cmd.Env = environ(t.TempDir())
		var out []byte
		var err error
		n.do(t, func() { out, err = cmd.CombinedOutput() })
		if err != nil {
			return fmt.Errorf("%q: %w: %s", cmd.Args, err, out)
		}
		return nil
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	sent, got := filepath.Join(t.TempDir(), "sent"), filepath.Join(t.TempDir(), "got")
	if err := os.WriteFile(sent, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for i, mode := range [][]string{{"--ftp-pasv"}, {"--ftp-port", "-"}} {
		url := fmt.Sprintf("ftp://127.0.0.1/file%d", i)
		for _, args := range [][]string{{"-T", sent, url}, {"-o", got, url}} {
			if err := ftp(slices.Concat(mode, args)...); err != nil {
				t.Fatal(err)
			}
		}
		if back, err := os.ReadFile(got); err != nil || !bytes.Equal(back, content) {
			t.Errorf("%q: %d bytes came back, %v", mode, len(back), err)
		}
	}

	configure(strings.Replace(config, "30000-30009", "30000-30019", 1))
	b.must("systemctl", "reload", "ftproxy")
	b.is("active", "MainPID="+pid)
	configure(config + "nonsense = 1\n")
	if out, err := b.in("systemctl", "reload", "ftproxy"); err == nil {
		t.Errorf("a faulty configuration is loaded: %s", out)
	}
	b.must("systemctl", "kill", "--signal=HUP", "--kill-who=main", "ftproxy")
	b.is("active", "MainPID="+pid)
	waitFor(t, "both refusals are in the journal", patience, func() bool {
		journal := b.must("journalctl", "--no-pager", "-o", "cat", "-u", "ftproxy")
		return strings.Contains(journal, `frontend.public.passive_ports: "30000-30009" is now "30000-30019"`) &&
			strings.Contains(journal, "ftproxy: not reloaded, the running configuration stays in force\n") &&
			strings.Contains(journal, `"message":"configuration refused"`)
	})
	configure(config)

	b.must("systemctl", "kill", "--signal=SEGV", "--kill-who=main", "ftproxy")
	waitFor(t, "ftproxy is started again", patience, func() bool { return b.show("NRestarts") == "1" })
	b.is("active")
	b.must("systemctl", "restart", "ftproxy") // the counter begins anew

	b.must("ftproxy", "drain", "-config", "/etc/ftproxy/config.toml")
	b.is("inactive", "Result=success", "NRestarts=0")

	configure(config + "nonsense = 1\n")
	if out, err := b.in("systemctl", "start", "ftproxy"); err == nil {
		t.Errorf("started with a faulty configuration: %s", out)
	}
	b.is("failed", "NRestarts=0", "ExecMainStatus=1")
}
