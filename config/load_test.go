package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.toml")
	if err := os.WriteFile(secret, []byte(minimal), 0); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.toml")
	if err := os.WriteFile(large, []byte(strings.Repeat("#\n", maxFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		cause      error
		want       string // behind the path
	}{
		{"missing", filepath.Join(dir, "none.toml"), fs.ErrNotExist, ": no such file; copy config.toml.example there, or name another file with -config FILE"},
		{"missing folder", filepath.Join(dir, "none", "config.toml"), fs.ErrNotExist, ": no such file; copy config.toml.example there, or name another file with -config FILE"},
		{"no name", "", fs.ErrNotExist, "no such file; copy config.toml.example there, or name another file with -config FILE"},
		{"directory", dir, nil, ": is a directory; name the file in it, for example " + dir + "/config.toml"},
		{"a file as folder", filepath.Join(large, "config.toml"), nil, ": cannot be read: open " + large + "/config.toml: not a directory; name a configuration with -config FILE"},
		{"too large", large, nil, ":1: the file is larger than 256 KiB; name a configuration with -config FILE"},
		{"not allowed", secret, fs.ErrPermission, ": permission denied; let the user that this ftproxy runs as (uid "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.path == secret && os.Getuid() == 0 {
				// root reads everything, so only the message is tested
				err := unreadable(secret, &fs.PathError{Op: "open", Path: secret, Err: fs.ErrPermission})
				if !errors.Is(err, tt.cause) || !strings.HasPrefix(err.Error(), tt.path+tt.want) {
					t.Errorf("got  %v\nwant %s%s", err, tt.path, tt.want)
				}
				return
			}
			c, err := Load(tt.path)
			if c != nil || err == nil {
				t.Fatalf("Load = %v, %v", c, err)
			}
			var problems Errors
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("%T, want one problem in Errors", err)
			}
			if !strings.HasPrefix(err.Error(), tt.path+tt.want) {
				t.Errorf("got  %v\nwant %s%s", err, tt.path, tt.want)
			}
			if tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("%v is not %v", err, tt.cause)
			}
		})
	}
}

type panicking struct{}

func (panicking) UnmarshalTOML(any) error { panic("impossible") }

// A panic of the library is an error of the file.
func TestDecodePanic(t *testing.T) {
	err := decode("a = 1", &map[string]panicking{})
	if err == nil || !strings.Contains(err.Error(), "impossible") {
		t.Errorf("decode: %v", err)
	}
	if p := syntaxProblem([]string{"a = 1"}, err); p.Line != 1 || p.Hint == "" {
		t.Errorf("%+v", p)
	}
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"idle", "idle", 0}, {"idel", "idle", 1}, {"idl", "idle", 1},
		{"lisen", "listen", 1}, {"banner", "manners", 2}, {strings.Repeat("x", 65), "x", 64},
	} {
		if got := edits(tt.a, tt.b); got != tt.want {
			t.Errorf("edits(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := edits(tt.b, tt.a); got != tt.want {
			t.Errorf("edits(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

// The line of a fault in a list is that of the element, whatever stands between.
func TestElementLines(t *testing.T) {
	const q3 = `"""`
	for _, tt := range []struct {
		name, list string
		want       int
	}{
		{"one line", `["a", "", "b"]`, 1},
		{"own lines", "[\n \"a\",\n \"b\",\n \"\"\n]", 4},
		{"comments", "[ # [, \"\n 'a', # \"\"\n\n # x\n \"\"]", 5},
		{"brackets in strings", "[ \"],#\", '\"],',\n\"\"]", 2},
		{"escaped quote", "[ \"\\\"\",\n\"\\\\\",\n\"\"]", 3},
		{"text of lines", "[ " + q3 + "a\n\n" + q3 + ", '''\n''',\n\"\"]", 5},
		{"quotes at the end of text", "[ " + q3 + "a\"\"" + q3 + ",\n\"\"]", 2},
		{"nested", "[ [\n\"\",\n\"\"],\n{ a = [\"]\"] },\n\"\" ]", 5},
		{"carriage returns", "[\r\n\"a\",\r\n\"\"]", 3},
		{"comment at the end", "[\n\"a\",\n\"\" # x\n]", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("config.toml", []byte("backend.legacy.servers = "+tt.list+"\n"+"[frontend.a]\nlisten = \":21\"\nbackend = \"legacy\"\n"))
			var problems Errors
			if !errors.As(err, &problems) {
				t.Fatal(err)
			}
			last := 0
			for _, p := range problems {
				if p.Message == "the server is empty" {
					last = p.Line
				}
			}
			if last != tt.want {
				t.Errorf("the empty server is in line %d, want %d\n%v", last, tt.want, err)
			}
		})
	}
}

// A fault of syntax in one line must not hide what is wrong elsewhere, nor
// invent anything.
func TestSyntaxFaultsDoNotCascade(t *testing.T) {
	for _, line := range strings.Split(strings.TrimSpace(minimal), "\n") {
		key, value, ok := strings.Cut(line, " = ")
		if !ok {
			continue
		}
		for _, bad := range []string{"nope", "", strings.Trim(value, "[]\"") + "\"", "[1"} {
			text := strings.Replace(minimal, line, key+" = "+bad, 1) + "[log]\nlevel = 3\n"
			_, err := Parse("config.toml", []byte(text))
			var problems Errors
			if !errors.As(err, &problems) {
				t.Fatal(err)
			}
			if bad != "[1" && len(problems) != 2 {
				t.Errorf("%s = %s: want two problems, got\n%v", key, bad, err)
			}
			if bad == "[1" && len(problems) != 1 { // the list may go on anywhere
				t.Errorf("%s = %s: want one problem, got\n%v", key, bad, err)
			}
		}
	}
}

// Lines are counted in what follows the byte order mark.
func TestByteOrderMarkKeepsLines(t *testing.T) {
	_, err := Parse("c", []byte("\ufeff\n\na=1\nb=2\n"))
	for _, want := range []string{"c:3: a: ", "c:4: b: "} {
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

// Port 0 is another port at every address, so it may be named often.
func TestAnyPortTwice(t *testing.T) {
	c := mustParse(t, `
[frontend.a]
listen = ["127.0.0.1:0", ":0"]
backend = "legacy"
[frontend.b]
listen = "127.0.0.1:0"
backend = "legacy"
[backend.legacy]
servers = "10.0.0.5"
`)
	if len(c.Frontends) != 2 || len(c.Frontends[0].Listen) != 3 {
		t.Errorf("%+v", c.Frontends)
	}
}

// The socket is found in a file that has faults elsewhere, and only there.
func TestFindControlSocket(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"[control]\nsocket = \"/run/c\"\n", "/run/c"}, // It has no frontend.
		{"[timeouts]\nidle = 5\n[control]\nsocket = \"/run/c\"\n", "/run/c"},
		{"[frontend.a.tls]\nmode = \"on\"\n[control]\nsocket = \"/run/c\"\n", "/run/c"},
		{"[control]\nsocket = \"run/c\"\n", ""},
		{"[control]\nsocket = 5\n", ""},
		{"[frontend", ""},
		{"", ""},
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := FindControlSocket(path); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
	if got := FindControlSocket(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("no file: %q", got)
	}
}
