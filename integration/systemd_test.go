package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftproxy/config"
)

var unitFile = filepath.Join("..", "packaging", "systemd", "ftproxy.service")

// A unit is what a file of systemd sets: the values of each key in their order.
type unit map[string][]string

func readUnit(t *testing.T) unit {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	u := make(unit)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("%s: %q", unitFile, line)
		}
		u[key] = append(u[key], value)
	}
	return u
}

// one is the value of a key that is set once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("%s: %s is set %d times", unitFile, key, len(u[key]))
	}
	return u[key][0]
}

// command is one of the unit's command lines with another program and configuration.
func (u unit) command(t *testing.T, key, config string) []string {
	t.Helper()
	argv := strings.Fields(u.one(t, key))
	for i, arg := range argv {
		switch arg {
		case "/usr/bin/ftproxy":
			argv[i] = binary
		case "/etc/ftproxy/config.toml":
			argv[i] = config
		}
	}
	if argv[0] != binary || !slices.Contains(argv, config) {
		t.Fatalf("%s: %s=%q", unitFile, key, u[key])
	}
	return argv
}

// systemd rates the unit at 2.0 or better, where 10 is no protection at all.
func TestUnitSecurity(t *testing.T) {
	out, err := exec.Command(command(t, "systemd-analyze"), "security", "--no-pager", "--offline=true", "--threshold=20", unitFile).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
}

// systemd understands every line of the unit.
func TestUnitVerify(t *testing.T) {
	throughProxy(t)
	analyze := command(t, "systemd-analyze")
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(t.TempDir(), "ftproxy.service")
	write(t, installed, strings.ReplaceAll(string(text), "/usr/bin/ftproxy", binary))
	out, err := exec.Command(analyze, "verify", "--man=no", installed).CombinedOutput()
	if err != nil || len(out) > 0 { // A key that it does not know is only a warning.
		t.Errorf("%v\n%s", err, out)
	}
}

// The unit gives ftproxy what its default configuration may use.
func TestUnitFitsDefaults(t *testing.T) {
	u := readUnit(t)
	conf, err := config.Parse("config.toml", []byte(`[frontend.a]
listen = ":21"
backend = "b"
[backend.b]
servers = "192.0.2.1"
`))
	if err != nil {
		t.Fatal(err)
	}
	stop, err := time.ParseDuration(strings.TrimSuffix(u.one(t, "TimeoutStopSec"), "in"))
	if err != nil {
		t.Fatal(err)
	}
	if leave := conf.Timeouts.ShutdownDelay + conf.Timeouts.Drain; stop <= leave {
		t.Errorf("TimeoutStopSec is %v, and leaving service may take %v", stop, leave)
	}
	descriptors, err := strconv.Atoi(u.one(t, "LimitNOFILE"))
	if err != nil {
		t.Fatal(err)
	}
	if needed := conf.Descriptors(); descriptors < needed {
		t.Errorf("LimitNOFILE is %d, and the default configuration needs %d", descriptors, needed)
	}
}

var systemCall = regexp.MustCompile(`^\d+ +(\w+)\((.*)`)

// ftproxy makes no system call that the unit forbids: not while it serves in
// all modes, reloads and leaves, and not as the reload command. (What is
// forbidden fails with EPERM, which may show much later.)
func TestUnitSystemCalls(t *testing.T) {
	throughProxy(t)
	strace := command(t, "strace")
	u := readUnit(t)
	allowed := allowedCalls(t, u)
	families := strings.Fields(u.one(t, "RestrictAddressFamilies"))

	p := newPlace(t)
	s := startEmbedded(t, serverNamed("embedded").address(p), folder(t))
	s.kind = serverNamed("embedded")
	dir := t.TempDir()
	c := configure(t, p, s.addr)
	c.more = "[control]\nsocket = " + strconv.Quote(filepath.Join(socketDir(t), "control.sock"))
	manager := listenNotify(t)
	serve, reload := filepath.Join(dir, "serve"), filepath.Join(dir, "reload")
	// -D: strace is the grandchild, so signals go to ftproxy itself.
	ftproxy := startProxy(t, c, "env", "NOTIFY_SOCKET="+manager.name, "WATCHDOG_USEC=100000",
		strace, "-D", "-f", "-q", "-s", "0", "-o", serve)
	r := &rig{server: s, proxy: ftproxy, place: p}
	for _, m := range []mode{{"PASV", false}, {"EPRT", false}} {
		b := &bench{newSession(t, r.target(t, false), m), s, curl{command(t, "curl")}, ""}
		want := b.serve(m.verb, 4<<20)
		b.must(b.client.get(b.session, plain(m.verb), b.local("got"), whole))
		b.same(want, b.local("got"))
		b.must(b.client.put(b.session, b.local("got"), plain("sent"), whole))
		b.same(want, b.disk("sent"))
	}
	argv := append([]string{strace, "-f", "-q", "-s", "0", "-o", reload}, u.command(t, "ExecReload", ftproxy.configFile())...)
	if out, err := ftproxyCommand(argv...).CombinedOutput(); err != nil {
		t.Errorf("reload: %v\n%s", err, out)
	}
	stopTraced(t, ftproxy, serve)

	seen := make(map[string]bool)
	for _, trace := range []string{serve, reload} {
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := systemCall.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			name, args := m[1], m[2]
			if family, _, _ := strings.Cut(args, ","); name == "socket" && !slices.Contains(families, family) {
				t.Errorf("RestrictAddressFamilies forbids %s", line)
			}
			// MemoryDenyWriteExecute.
			if name == "mmap" && strings.Contains(args, "PROT_WRITE|PROT_EXEC") || name == "mprotect" && strings.Contains(args, "PROT_EXEC") {
				t.Errorf("memory that can be executed: %s", line)
			}
			// ProtectSystem.
			if name == "openat" && regexp.MustCompile(`O_WRONLY|O_RDWR|O_CREAT`).MatchString(args) && !strings.Contains(args, "O_PATH") {
				t.Errorf("a file is written: %s", line)
			}
			if !seen[name] && !allowed[name] {
				t.Errorf("SystemCallFilter forbids %s", line)
			}
			seen[name] = true
		}
	}
	for _, name := range []string{"splice", "accept4", "connect", "bind"} {
		if !seen[name] {
			t.Errorf("no %s, so this proves nothing", name)
		}
	}
	t.Logf("%d kinds of system calls", len(seen))
}

// configFile is the file that the process was started with.
func (p *process) configFile() string { return p.cmd.Args[slices.Index(p.cmd.Args, "-config")+1] }

// stopTraced ends a traced ftproxy, and waits for what strace writes of it.
func stopTraced(t *testing.T, p *proxy, trace string) {
	t.Helper()
	p.stop(t, syscall.SIGTERM)
	waitFor(t, "strace's last line", patience, func() bool {
		b, err := os.ReadFile(trace)
		return err == nil && regexp.MustCompile(`(?m)^`+strconv.Itoa(p.cmd.Process.Pid)+` +\+\+\+ exited`).Match(b)
	})
}

// allowedCalls are the system calls that the unit's filter lets through.
func allowedCalls(t *testing.T, u unit) map[string]bool {
	t.Helper()
	out, err := exec.Command(command(t, "systemd-analyze"), "syscall-filter", "--no-pager").Output()
	if err != nil {
		t.Fatal(err)
	}
	sets := make(map[string][]string)
	set := ""
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		switch {
		case name == "" || strings.HasPrefix(name, "#"):
		case strings.HasPrefix(line, "@"):
			set = name
		case strings.HasPrefix(line, " "):
			sets[set] = append(sets[set], name)
		}
	}
	var expand func(name string, f func(call string))
	expand = func(name string, f func(call string)) {
		if !strings.HasPrefix(name, "@") {
			f(name)
			return
		}
		if len(sets[name]) == 0 {
			t.Fatalf("systemd-analyze knows no %s", name)
		}
		for _, member := range sets[name] {
			expand(member, f)
		}
	}
	allowed := make(map[string]bool)
	expand("@default", func(call string) { allowed[call] = true })
	for _, filter := range u["SystemCallFilter"] {
		names, forbidden := strings.CutPrefix(filter, "~")
		for _, name := range strings.Fields(names) {
			expand(name, func(call string) {
				if forbidden {
					delete(allowed, call)
				} else {
					allowed[call] = true
				}
			})
		}
	}
	return allowed
}
