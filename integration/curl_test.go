package integration

import (
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

type curl struct{ path string }

func (curl) modes() []mode {
	return []mode{{"PASV", false}, {"EPSV", false}, {"PORT", false}, {"EPRT", false}, {"EPSV", true}, {"EPRT", true}}
}

var (
	curlConnected = regexp.MustCompile(`(?m)^\* Connecting to (\S+)(?: \(\S+\))? port (\d+)`)
	curlSent      = map[string]*regexp.Regexp{
		"PASV": regexp.MustCompile(`(?m)^> PASV`), "EPSV": regexp.MustCompile(`(?m)^> EPSV`),
		"PORT": regexp.MustCompile(`(?m)^> PORT`), "EPRT": regexp.MustCompile(`(?m)^> EPRT`),
	}
)

// options are those of every transfer; curl forgets them at --next.
func (c curl) options(s *session) []string {
	o := []string{"-sS", "-v", "-g", "--max-time", "240", "-u", s.target.user + ":" + s.target.pass}
	if s.target.bind.IsValid() {
		o = append(o, "--interface", s.target.bind.String())
	}
	switch p := s.target.tls; {
	case p.protects() && p.clear:
		o = append(o, "--ftp-ssl-control", "--cacert", p.ca)
	case p.protects():
		o = append(o, "--ssl-reqd", "--cacert", p.ca)
	}
	if v := s.target.tls.version; v != "" {
		o = append(o, "--tlsv"+v, "--tls-max", v)
	}
	switch s.mode.verb {
	case "PASV":
		o = append(o, "--ftp-pasv", "--disable-epsv")
	case "EPSV":
		o = append(o, "--ftp-pasv", "--epsv")
	case "PORT":
		o = append(o, "--ftp-port", "-", "--disable-eprt")
	case "EPRT":
		o = append(o, "--ftp-port", "-", "--eprt")
	}
	return o
}

func (c curl) run(s *session, data bool, args ...string) (string, error) {
	cmd := exec.Command(c.path, append(append([]string{"-q"}, c.options(s)...), args...)...)
	cmd.Env = environ(s.t.TempDir())
	return s.exec(cmd, data, curlConnected, curlSent[s.mode.verb])
}

// url names a file below the login folder.
func (curl) url(s *session, file name) string {
	return s.target.tls.scheme() + "://" + s.target.addr.String() + "/" + strings.ReplaceAll(url.PathEscape(file.wire), "%2F", "/")
}

func (c curl) list(s *session, verb string, dir name) (string, error) {
	args := []string{c.url(s, name{wire: dir.wire + "/"})}
	switch verb {
	case "NLST":
		args = append(args, "-l")
	case "MLSD":
		args = append(args, "-X", "MLSD")
	}
	return c.run(s, true, args...)
}

func (c curl) get(s *session, remote name, local string, how how) error {
	args := []string{c.url(s, remote), "-o", local}
	if how == resume {
		args = append(args, "-C", "-")
	}
	_, err := c.run(s, true, args...)
	return err
}

// putAll gives curl a URL for each file; it keeps the session.
func (c curl) putAll(s *session, local string, files []string, dir name) error {
	var args []string
	for _, n := range files {
		args = append(args, "-T", filepath.Join(local, n), c.url(s, plain(path.Join(dir.wire, n))))
	}
	_, err := c.run(s, true, args...)
	return err
}

// put resumes with SIZE and APPE, which is curl's way.
func (c curl) put(s *session, local string, remote name, how how) error {
	args := []string{"-T", local, c.url(s, remote)}
	switch how {
	case resume:
		args = append(args, "-C", "-")
	case appending:
		args = append(args, "-a")
	}
	_, err := c.run(s, true, args...)
	return err
}

// quote sends commands before a listing nobody looks at.
func (c curl) quote(s *session, commands ...string) error {
	args := []string{c.url(s, plain("")), "-l", "-o", "/dev/null"}
	for _, q := range commands {
		args = append(args, "-Q", q)
	}
	_, err := c.run(s, true, args...)
	return err
}

func (c curl) rename(s *session, from, to name) error {
	return c.quote(s, "RNFR "+from.wire, "RNTO "+to.wire)
}
func (c curl) remove(s *session, file name) error { return c.quote(s, "DELE "+file.wire) }
func (c curl) mkdir(s *session, dir name) error   { return c.quote(s, "MKD "+dir.wire) }
func (c curl) rmdir(s *session, dir name) error   { return c.quote(s, "RMD "+dir.wire) }

// abort asks for the first bytes only: curl then sends ABOR and closes.
func (c curl) abort(s *session, big, small name, local string) error {
	args := []string{"-r", "0-99999", "-o", local + ".part", c.url(s, big), "--next"}
	args = append(args, c.options(s)...)
	args = append(args, "-o", local, c.url(s, small))
	_, err := c.run(s, true, args...)
	return err
}

// getParallel gives curl a list of names, for it reads no folder.
func (c curl) getParallel(s *session, dir name, local string) error {
	list, err := c.list(s, "NLST", dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(local, 0o755); err != nil {
		return err
	}
	args := []string{"-Z", "--parallel-max", "4", "--output-dir", local}
	for n := range strings.FieldsSeq(list) {
		if n = path.Base(n); n == "." || n == ".." { // pure-ftpd lists them
			continue
		}
		args = append(args, "-o", n, c.url(s, plain(path.Join(dir.wire, n))))
	}
	_, err = c.run(s, true, args...)
	return err
}

func (c curl) version() (string, error) {
	return firstLine(exec.Command(c.path, "--version"), `curl (\S+)`)
}

func (curl) unique(*session, string, name) error  { return errCannot }
func (curl) getTree(*session, name, string) error { return errCannot }
func (curl) putTree(*session, string, name) error { return errCannot }
