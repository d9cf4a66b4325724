package integration

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// ncftp is NcFTP: three programs for transfers, and its shell for the rest.
// It knows neither IPv6 nor the verbs of RFC 2428.
type ncftp struct {
	unable
	dir string // of its programs
}

func (ncftp) modes() []mode { return []mode{{"PASV", false}, {"PORT", false}} }

var ncftpSent = verbsAfter(`Cmd: `)

// run runs ncftpls, ncftpget or ncftpput, whose dialogue goes to a file.
func (n ncftp) run(s *session, program string, options []string, args ...string) (string, error) {
	log := filepath.Join(s.t.TempDir(), "dialogue")
	cmd := exec.Command(filepath.Join(n.dir, program), append(append(n.options(s, program, log), options...), args...)...)
	cmd.Env = environ(s.t.TempDir())
	s.dialogueIn = log
	return s.exec(cmd, true, nil, ncftpSent[s.mode.verb])
}

func (ncftp) options(s *session, program, log string) []string {
	all := []string{"-d", log, "-u", s.target.user, "-p", s.target.pass, "-P", fmt.Sprint(s.target.addr.Port()), "-t", "90"}
	if s.mode.passive() {
		all = append(all, "-F")
	} else {
		all = append(all, "-E")
	}
	if program != "ncftpls" {
		all = append(all, "-V")
		if s.target.bind.IsValid() {
			all = append(all, "-I", s.target.bind.String())
		}
	}
	return all
}

// shell runs ncftp, whose commands open no data connection here.
func (n ncftp) shell(s *session, commands ...string) (string, error) {
	cmd := exec.Command(filepath.Join(n.dir, "ncftp"),
		"-u", s.target.user, "-p", s.target.pass, "-P", fmt.Sprint(s.target.addr.Port()), s.target.addr.Addr().String())
	home := s.t.TempDir()
	// Without these it asks or tells the user things at its first start.
	if err := os.MkdirAll(filepath.Join(home, ".ncftp"), 0o700); err != nil {
		return "", err
	}
	cmd.Env = environ(home)
	cmd.Stdin = strings.NewReader(strings.Join(append(commands, "quit", ""), "\n"))
	return s.exec(cmd, false, nil, nil)
}

func (n ncftp) list(s *session, verb string, dir name) (string, error) {
	option := map[string]string{"LIST": "-l", "NLST": "-1", "MLSD": "-m"}[verb]
	return n.run(s, "ncftpls", []string{option}, "ftp://"+s.target.addr.Addr().String()+"/"+
		strings.ReplaceAll(url.PathEscape(dir.wire), "%2F", "/")+"/")
}

func (n ncftp) get(s *session, remote name, local string, how how) error {
	options := []string{"-Z"}
	if how == resume {
		options = []string{"-z"}
	}
	_, err := n.run(s, "ncftpget", append(options, "-C"), s.target.addr.Addr().String(), remote.wire, local)
	return err
}

// abort ends the program.
func (n ncftp) abort(s *session, big, small name, local string) error {
	cmd := exec.Command(filepath.Join(n.dir, "ncftpget"), append(n.options(s, "ncftpget", "/dev/null"),
		"-c", s.target.addr.Addr().String(), big.wire)...)
	cmd.Env = environ(s.t.TempDir())
	if err := s.terminate(cmd); err != nil {
		return err
	}
	return n.get(s, small, local, whole)
}

func (n ncftp) put(s *session, local string, remote name, how how) error {
	var options []string
	switch how {
	case resume: // with sendfile it sends REST and then the whole file again
		options = []string{"-z", "-s"}
	case appending:
		options = []string{"-A"}
	}
	_, err := n.run(s, "ncftpput", append(options, "-C"), s.target.addr.Addr().String(), local, remote.wire)
	return err
}

func (n ncftp) getTree(s *session, dir name, local string) error {
	at := s.t.TempDir()
	if _, err := n.run(s, "ncftpget", []string{"-R"}, s.target.addr.Addr().String(), at, dir.wire); err != nil {
		return err
	}
	return os.Rename(filepath.Join(at, path.Base(dir.wire)), local)
}

func (n ncftp) putTree(s *session, local string, dir name) error {
	_, err := n.run(s, "ncftpput", []string{"-R", "-m"}, s.target.addr.Addr().String(), dir.wire, local)
	return err
}

func (n ncftp) rename(s *session, from, to name) error {
	_, err := n.shell(s, "rename "+word(from.wire)+" "+word(to.wire))
	return err
}

func (n ncftp) remove(s *session, file name) error {
	_, err := n.shell(s, "rm "+word(file.wire))
	return err
}

func (n ncftp) mkdir(s *session, dir name) error {
	_, err := n.shell(s, "mkdir "+word(dir.wire))
	return err
}

func (n ncftp) rmdir(s *session, dir name) error {
	_, err := n.shell(s, "rmdir "+word(dir.wire))
	return err
}

func (n ncftp) version() (string, error) {
	return firstLine(exec.Command(filepath.Join(n.dir, "ncftpls"), "-h"), `LibNcFTP (\S+)`)
}
