package integration

import (
	"bytes"
	"fmt"
	"os/exec"
	"path"
	"regexp"
	"strings"
)

// rclone is built on a Go library, and on MLSD where the server has it. It
// knows no active mode.
type rclone struct {
	unable
	path string
}

func (rclone) modes() []mode { return []mode{{"PASV", false}, {"EPSV", false}, {"EPSV", true}} }

var (
	rcloneConnected = regexp.MustCompile(`dial\("tcp","\[?([0-9a-f.:]+?)\]?:(\d+)"\)`)
	rcloneSent      = verbsAfter(`Tx: "`)
)

// run runs rclone. Paths that begin with "@" are the server's.
func (r rclone) run(s *session, data bool, args ...string) (string, error) {
	cmd, err := r.command(s, args...)
	if err != nil {
		return "", err
	}
	return s.exec(cmd, data, rcloneConnected, rcloneSent[s.mode.verb])
}

func (r rclone) command(s *session, args ...string) (*exec.Cmd, error) {
	obscure := exec.Command(r.path, "obscure", s.target.pass)
	obscure.Env = environ(s.t.TempDir())
	pass, err := obscure.Output()
	if err != nil {
		return nil, fmt.Errorf("rclone obscure: %w", err)
	}
	host := s.target.addr.Addr().String()
	if s.mode.ipv6 {
		host = "[" + host + "]"
	}
	remote := fmt.Sprintf(`:ftp,host="%s",port=%d,user=%s,pass=%s,disable_epsv=%t:`, host, s.target.addr.Port(),
		s.target.user, bytes.TrimSpace(pass), s.mode.verb == "PASV")
	// From 250 MB on rclone 1.60 downloads in several streams, each but the last
	// cut off in the middle, and then takes the 426 for a failure.
	all := []string{"--config", "/dev/null", "-vv", "--dump", "headers", "--multi-thread-streams", "0",
		"--retries", "1", "--low-level-retries", "1", "--timeout", "90s", "--contimeout", "90s"}
	if s.target.bind.IsValid() {
		all = append(all, "--bind", s.target.bind.String())
	}
	for _, a := range args {
		if p, ok := strings.CutPrefix(a, "@"); ok {
			a = remote + p
		}
		all = append(all, a)
	}
	cmd := exec.Command(r.path, all...)
	cmd.Env = environ(s.t.TempDir(), "RCLONE_FTP_DISABLE_MLSD="+fmt.Sprint(s.plainList))
	return cmd, nil
}

func (r rclone) list(s *session, verb string, dir name) (string, error) {
	if verb == "NLST" || dir.latin1() {
		return r.unable.list(s, verb, dir)
	}
	s.plainList = verb == "LIST"
	defer func() { s.plainList = false }()
	return r.run(s, true, "lsf", "@"+dir.text)
}

func (r rclone) get(s *session, remote name, local string, how how) error {
	if how != whole || remote.latin1() {
		return r.unable.get(s, remote, local, how)
	}
	_, err := r.run(s, true, "copyto", "--ignore-times", "@"+remote.text, local)
	return err
}

func (r rclone) put(s *session, local string, remote name, how how) error {
	if how != whole || remote.latin1() {
		return r.unable.put(s, local, remote, how)
	}
	_, err := r.run(s, true, "copyto", "--ignore-times", local, "@"+remote.text)
	return err
}

func (r rclone) rename(s *session, from, to name) error {
	if from.latin1() || to.latin1() {
		return r.unable.rename(s, from, to)
	}
	_, err := r.run(s, false, "moveto", "@"+from.text, "@"+to.text)
	return err
}

func (r rclone) remove(s *session, file name) error {
	if file.latin1() {
		return r.unable.remove(s, file)
	}
	_, err := r.run(s, false, "deletefile", "@"+file.text)
	return err
}

func (r rclone) mkdir(s *session, dir name) error {
	if dir.latin1() {
		return r.unable.mkdir(s, dir)
	}
	_, err := r.run(s, false, "mkdir", "@"+dir.text)
	return err
}

func (r rclone) rmdir(s *session, dir name) error {
	_, err := r.run(s, false, "rmdir", "@"+dir.text)
	return err
}

// abort ends the program.
func (r rclone) abort(s *session, big, small name, local string) error {
	cmd, err := r.command(s, "cat", "@"+big.text)
	if err == nil {
		err = s.terminate(cmd)
	}
	if err != nil {
		return err
	}
	return r.get(s, small, local, whole)
}

func (r rclone) getTree(s *session, dir name, local string) error {
	_, err := r.run(s, true, "copy", "--transfers", "1", "@"+dir.text, local)
	return err
}

func (r rclone) putTree(s *session, local string, dir name) error {
	_, err := r.run(s, true, "copy", "--transfers", "1", local, "@"+path.Clean(dir.text))
	return err
}

func (r rclone) getParallel(s *session, dir name, local string) error {
	_, err := r.run(s, true, "copy", "--transfers", "4", "@"+dir.text, local)
	return err
}

func (r rclone) version() (string, error) {
	return firstLine(exec.Command(r.path, "version"), `rclone v(\S+)`)
}
