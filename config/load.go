package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
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
	case strings.Contains(data, "\r") && !strings.Contains(data, "\n"):
		p.Message, p.Hint = "the lines end with CR alone, as on old Macs", "save the file with the line ends of Unix (LF)"
	default:
		return nil
	}
	return p
}

// config reads the whole document.
func (r *reader) config() *Config {
	c := Defaults()
	c.lines = r.lines
	// What stands above the first header is none of ours.
	table{reader: r, kind: "", entry: r.doc.root}.refuseUnknown(func(key string) bool { return slices.Contains(schema[""], key) })

	logKeys.read(r.table("log"), &c.Log)
	adminKeys.read(r.table("admin"), &c.Admin)
	controlKeys.read(r.table("control"), &c.Control)
	timeoutKeys.read(r.table("timeouts"), &c.Timeouts)
	limitKeys.read(r.table("limits"), &c.Limits)
	for i, t := range r.named("frontend") {
		r.pauseAt(i)
		f := new(NewFrontend(t.entry.name))
		frontendKeys.read(t, f)
		frontendTLSKeys.read(t.inner("tls"), &f.TLS)
		c.Frontends = append(c.Frontends, *f)
	}
	for i, t := range r.named("backend") {
		r.pauseAt(i)
		b := NewBackend(t.entry.name)
		t.servers = r.servers(t)
		backendKeys.read(t, &b)
		checkKeys.read(t.inner("check"), &b.Check)
		if b.Check.Kind.On() {
			t.checks.checked = append(t.checks.checked, b.Name)
		}
		backendTLSKeys.read(t.inner("tls"), &b.TLS)
		c.Backends = append(c.Backends, b)
	}
	r.pause()
	r.check(&r.checks)
	c.renamed = r.renamed
	return &c
}

// pauseAt pauses before one table of many.
func (r *reader) pauseAt(i int) {
	if i%50 == 0 {
		r.pause()
	}
}
