package integration

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wget downloads only.
type wget struct {
	unable
	path string
}

func (wget) modes() []mode {
	return []mode{{"PASV", false}, {"PORT", false}, {"EPSV", true}, {"EPRT", true}}
}

var wgetSent = verbsAfter(`^--> `)

func (w wget) command(s *session, dir string, args ...string) *exec.Cmd {
	all := []string{"--no-config", "-d", "--no-iri", "--tries=1", "--timeout=90", "--no-proxy", "--restrict-file-names=nocontrol",
		"--user=" + s.target.user, "--password=" + s.target.pass}
	if !s.mode.passive() {
		all = append(all, "--no-passive-ftp")
	}
	if s.target.bind.IsValid() {
		all = append(all, "--bind-address="+s.target.bind.String())
	}
	cmd := exec.Command(w.path, append(all, args...)...)
	cmd.Env = environ(s.t.TempDir())
	cmd.Dir = dir
	return cmd
}

func (w wget) run(s *session, dir string, args ...string) (string, error) {
	return s.exec(w.command(s, dir, args...), true, nil, wgetSent[s.mode.verb])
}

func (wget) url(s *session, file name) string {
	return "ftp://" + s.target.addr.String() + "/" + strings.ReplaceAll(url.PathEscape(file.wire), "%2F", "/")
}

// list reads the listing that wget keeps when it is told to.
func (w wget) list(s *session, verb string, dir name) (string, error) {
	if verb != "LIST" {
		return w.unable.list(s, verb, dir)
	}
	at := s.t.TempDir()
	if _, err := w.run(s, at, "--no-remove-listing", "-O", "index.html", w.url(s, name{wire: dir.wire + "/"})); err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(at, ".listing"))
	return string(text), err
}

func (w wget) get(s *session, remote name, local string, how how) error {
	args := []string{"-O", local, w.url(s, remote)}
	if how == resume {
		args = append(args, "-c")
	}
	_, err := w.run(s, s.t.TempDir(), args...)
	return err
}

// abort ends the program.
func (w wget) abort(s *session, big, small name, local string) error {
	if err := s.terminate(w.command(s, s.t.TempDir(), "-O", "-", w.url(s, big))); err != nil {
		return err
	}
	return w.get(s, small, local, whole)
}

func (w wget) getTree(s *session, dir name, local string) error {
	if err := os.Mkdir(local, 0o755); err != nil {
		return err
	}
	cut := strings.Count(dir.wire, "/") + 1
	_, err := w.run(s, local, "-r", "-l", "0", "-nH", "--cut-dirs="+string(rune('0'+cut)), w.url(s, name{wire: dir.wire + "/"}))
	return err
}

func (w wget) version() (string, error) {
	return firstLine(exec.Command(w.path, "--version"), `Wget (\S+)`)
}
