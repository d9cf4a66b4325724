package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// ftplib is Python's client; testdata/client.py does the work.
type ftplib struct{ path string }

// ftplib sends EPSV and EPRT of its own accord over IPv6 only; the script makes
// it send them over IPv4 as well.
func (ftplib) modes() []mode {
	return []mode{{"PASV", false}, {"EPSV", false}, {"PORT", false}, {"EPRT", false}, {"EPSV", true}, {"EPRT", true}}
}

var (
	ftplibConnected = regexp.MustCompile(`(?m)^data connection to (\S+) port (\d+)`)
	ftplibSent      = map[string]*regexp.Regexp{
		"PASV": regexp.MustCompile(`(?m)^\*cmd\* 'PASV`), "EPSV": regexp.MustCompile(`(?m)^\*cmd\* 'EPSV`),
		"PORT": regexp.MustCompile(`(?m)^\*cmd\* 'PORT`), "EPRT": regexp.MustCompile(`(?m)^\*cmd\* 'EPRT`),
	}
)

func (f ftplib) run(s *session, data, latin1 bool, args ...string) (string, error) {
	order := map[string]any{
		"host": s.target.addr.Addr().String(), "port": s.target.addr.Port(),
		"user": s.target.user, "password": s.target.pass,
		"mode": s.mode.verb, "bind": "", "encoding": "utf-8", "args": args,
		"tls": s.target.tls.mode, "clear": s.target.tls.clear, "ca": s.target.tls.ca,
		"version": s.target.tls.version, "reuse": s.target.tls.resume,
	}
	if s.target.bind.IsValid() {
		order["bind"] = s.target.bind.String()
	}
	if latin1 {
		order["encoding"] = "latin-1"
	}
	text, err := json.Marshal(order)
	if err != nil {
		return "", err
	}
	script, err := filepath.Abs("testdata/client.py")
	if err != nil {
		return "", err
	}
	cmd := exec.Command(f.path, script)
	cmd.Stdin = strings.NewReader(string(text))
	cmd.Env = environ(s.t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	return s.exec(cmd, data, ftplibConnected, ftplibSent[s.mode.verb])
}

func (f ftplib) list(s *session, verb string, dir name) (string, error) {
	return f.run(s, true, dir.latin1(), "list", verb, dir.text)
}

var howNames = map[how]string{whole: "whole", resume: "resume", appending: "append"}

func (f ftplib) get(s *session, remote name, local string, how how) error {
	_, err := f.run(s, true, remote.latin1(), "get", remote.text, local, howNames[how])
	return err
}

func (f ftplib) put(s *session, local string, remote name, how how) error {
	_, err := f.run(s, true, remote.latin1(), "put", local, remote.text, howNames[how])
	return err
}

func (f ftplib) getAll(s *session, dir name, files []string, local string) error {
	args := []string{"get-all"}
	for _, n := range files {
		args = append(args, path.Join(dir.wire, n), filepath.Join(local, n))
	}
	_, err := f.run(s, true, false, args...)
	return err
}

func (f ftplib) putAll(s *session, local string, files []string, dir name) error {
	args := []string{"put-all"}
	for _, n := range files {
		args = append(args, filepath.Join(local, n), path.Join(dir.wire, n))
	}
	_, err := f.run(s, true, false, args...)
	return err
}

func (f ftplib) rename(s *session, from, to name) error {
	_, err := f.run(s, false, from.latin1(), "rename", from.text, to.text)
	return err
}

func (f ftplib) remove(s *session, file name) error {
	_, err := f.run(s, false, file.latin1(), "delete", file.text)
	return err
}

func (f ftplib) mkdir(s *session, dir name) error {
	_, err := f.run(s, false, dir.latin1(), "mkdir", dir.text)
	return err
}

func (f ftplib) rmdir(s *session, dir name) error {
	_, err := f.run(s, false, dir.latin1(), "rmdir", dir.text)
	return err
}

// abort sends ABOR as urgent data, its LF as the urgent byte. ftproxy puts that
// right; the servers themselves wait for the LF that they never see.
func (f ftplib) abort(s *session, big, small name, local string) error {
	if direct {
		return fmt.Errorf("its ABOR without ftproxy: %w", errCannot)
	}
	_, err := f.run(s, true, big.latin1(), "abort", big.text, small.text, local)
	return err
}

func (f ftplib) unique(s *session, local string, dir name) error {
	_, err := f.run(s, true, false, "unique", local, dir.text)
	return err
}

func (f ftplib) version() (string, error) {
	return firstLine(exec.Command(f.path, "--version"), `Python (\S+)`)
}

func (ftplib) getTree(*session, name, string) error     { return errCannot }
func (ftplib) putTree(*session, string, name) error     { return errCannot }
func (ftplib) getParallel(*session, name, string) error { return errCannot }
