package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// maxFile is the largest file that is read: far more than any configuration,
// far less than the file that was named by mistake.
const maxFile = 256 << 10

// Load reads and checks the file at path. Its error is always an [Errors];
// where the file could not be read, the cause can be tested for with
// errors.Is (fs.ErrNotExist, fs.ErrPermission).
func Load(path string) (*Config, error) { return LoadGently(path, atOnce) }

// LoadGently is Load that calls pause between its parts, of which each takes a
// millisecond or two: all of a large file takes twenty, and whoever else has work
// for the processor should not have to wait for that.
func LoadGently(path string, pause func()) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	return parseNamed(path, data, pause)
}

// atOnce is the pause of those who are not in anybody's way.
func atOnce() {}

// FindControlSocket returns the control.socket of the file at path, also where
// other keys of the file are at fault: whoever has ftproxy leave service must not
// have to mend a configuration first. It returns "" if there is none, or if the
// file cannot be read so far.
func FindControlSocket(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	c, _ := parse(string(data), atOnce)
	if c == nil {
		return ""
	}
	return c.Control.Socket
}

// unreadable says why there is no file to read.
func unreadable(path string, err error) Errors {
	p := Problem{File: path, Message: "cannot be read: " + err.Error(), Hint: "name a configuration with -config FILE", Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Message = "no such file"
		p.Hint = "copy config.toml.example there, or name another file with -config FILE"
	case errors.Is(err, fs.ErrPermission):
		p.Message = "permission denied"
		p.Hint = fmt.Sprintf("let the user that this ftproxy runs as (uid %d) read it", os.Getuid())
	case errors.Is(err, syscall.EISDIR):
		p.Message = "is a directory"
		p.Hint = "name the file in it, for example " + strings.TrimSuffix(path, "/") + "/config.toml"
	}
	return Errors{p}
}

// Parse checks the text of a configuration. name is the file's name in what
// is reported. A mark of byte order for UTF-8 is skipped.
func Parse(name string, data []byte) (*Config, error) { return parseNamed(name, data, atOnce) }

func parseNamed(name string, data []byte, pause func()) (*Config, error) {
	c, problems := parse(string(data), pause)
	if len(problems) > 0 {
		for i := range problems {
			problems[i].File = name
		}
		sortProblems(problems)
		return nil, Errors(problems)
	}
	c.file = name
	return c, nil
}

func parse(data string, pause func()) (*Config, []Problem) {
	if p := unusable(data); p != nil {
		return nil, []Problem{*p}
	}
	doc, problems := parseDocument(data, pause)
	if doc == nil {
		return nil, problems
	}
	if len(doc.root.table) == 0 && len(problems) == 0 {
		return nil, []Problem{{
			Line:    1,
			Message: "the file holds no key",
			Hint:    "begin with a copy of config.toml.example",
		}}
	}
	r := &reader{doc: doc, problems: problems, lines: make(map[string]int, doc.length), pause: pause}
	c := r.config()
	return c, r.problems
}

// unusable finds files that are no text at all, for which the faults of TOML
// would tell nothing.
func unusable(data string) *Problem {
	p := &Problem{Line: 1, Hint: "save the file as UTF-8"}
	switch {
	case data == "":
		p.Message, p.Hint = "the file is empty", "begin with a copy of config.toml.example"
	case len(data) > maxFile:
		p.Message, p.Hint = "the file is larger than 256 KiB", "name a configuration with -config FILE"
	case strings.HasPrefix(data, "\xff\xfe"), strings.HasPrefix(data, "\xfe\xff"):
		p.Message = "the file is UTF-16"
	case strings.Contains(data, "\x00"):
		p.Line = lineAt(data, strings.IndexByte(data, 0))
		p.Message, p.Hint = "the file holds a NUL byte, so it is no text", "name a configuration with -config FILE"
	default:
		return nil
	}
	return p
}

// config reads the whole document.
func (r *reader) config() *Config {
	c := Defaults()
	c.lines = r.lines
	r.topLevel()

	t := r.table("log")
	t.choice("level", &c.Log.Level, "debug", "info", "warn", "error")
	t.choice("format", &c.Log.Format, "json", "console")

	t = r.table("admin")
	var k checks
	t.admin(&c.Admin, &k)

	t = r.table("control")
	t.control(&c.Control)

	t = r.table("timeouts")
	t.timeouts(&c.Timeouts)

	t = r.table("limits")
	t.whole("sessions", &c.Limits.Sessions, 1)
	t.whole("sessions_per_client", &c.Limits.SessionsPerClient, 0)
	t.whole("transfers", &c.Limits.Transfers, 0)

	for i, t := range r.named("frontend") {
		r.pauseAt(i)
		c.Frontends = append(c.Frontends, *t.frontend(&k))
	}
	for i, t := range r.named("backend") {
		r.pauseAt(i)
		c.Backends = append(c.Backends, t.backend(&k))
	}
	r.pause()
	r.check(&k)
	return &c
}

// pauseAt pauses before one table of many.
func (r *reader) pauseAt(i int) {
	if i%50 == 0 {
		r.pause()
	}
}

// topLevel reports the keys above the first header, which are none of ours.
func (r *reader) topLevel() {
	t := table{reader: r, kind: "", entry: r.doc.root}
	t.refuseUnknown()
}

func (t table) timeouts(d *Timeouts) {
	t.duration("connect", &d.Connect, false)
	t.duration("greeting", &d.Greeting, false)
	t.duration("login", &d.Login, false)
	t.duration("idle", &d.Idle, false)
	t.duration("reply", &d.Reply, false)
	t.duration("final_reply", &d.FinalReply, false)
	t.duration("port_wait", &d.PortWait, false)
	t.duration("data_connect", &d.DataConnect, false)
	t.duration("data_stall", &d.DataStall, false)
	t.duration("client_write", &d.ClientWrite, false)
	t.duration("proxy_header", &d.ProxyHeader, false)
	t.duration("tls_handshake", &d.TLSHandshake, false)
	t.duration("linger", &d.Linger, false)
	t.duration("shutdown_delay", &d.ShutdownDelay, true)
	t.duration("drain", &d.Drain, false)
}

// admin reads [admin]. Its pages have no password, so only this machine may see them.
func (t table) admin(a *Admin, k *checks) {
	s, ok := t.text("listen", "127.0.0.1:9121")
	if !ok || s.value == "" {
		return
	}
	addrs, w := parseListen(s.value, "9121")
	if w == nil && (len(addrs) != 1 || !addrs[0].Addr().IsLoopback()) {
		port := addrs[0].Port()
		w = wrongf(fmt.Sprintf(`write "127.0.0.1:%d" or "[::1]:%d"`, port, port),
			"%q can be reached from other machines, and nothing protects it", s.value)
	}
	if w != nil {
		t.faultAt(s.line, "listen", w)
		return
	}
	a.Listen = addrs[0]
	k.listeners = append(k.listeners, listener{addr: a.Listen, key: "admin.listen", line: s.line})
}

// control reads [control].
func (t table) control(c *Control) {
	s, ok := t.text("socket", "/run/ftproxy/control.sock")
	if !ok {
		return
	}
	path, w := parseSocket(s.value)
	if w != nil {
		t.faultAt(s.line, "socket", w)
	}
	c.Socket = path
}
