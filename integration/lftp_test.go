package integration

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

type lftp struct{ path string }

// lftp sends EPRT over IPv6 only, and on loopback it then names [::] as its
// address. Most servers refuse that; ftproxy takes it for the client's own.
func (lftp) modes() []mode {
	return []mode{{"PASV", false}, {"EPSV", false}, {"PORT", false}, {"EPSV", true}, {"EPRT", true}}
}

var (
	lftpConnected = regexp.MustCompile(`(?m)^---- Connecting data socket to \(?([0-9a-f.:]+)\)? port (\d+)`)
	lftpSent      = map[string]*regexp.Regexp{
		"PASV": regexp.MustCompile(`(?m)^---> PASV`), "EPSV": regexp.MustCompile(`(?m)^---> EPSV`),
		"PORT": regexp.MustCompile(`(?m)^---> PORT`), "EPRT": regexp.MustCompile(`(?m)^---> EPRT`),
	}
)

func (l lftp) run(s *session, data, latin1 bool, commands ...string) (string, error) {
	yesno := map[bool]string{true: "yes", false: "no"}
	script := []string{
		"set cmd:fail-exit yes", "set xfer:clobber yes", "set xfer:use-temp-file no", "set xfer:log no",
		"set net:timeout 90", "set net:max-retries 1", "set net:persist-retries 0",
		"set ftp:verify-address yes", // the data connection must come from where the control connection goes
		"set ftp:passive-mode " + yesno[s.mode.passive()],
		"set ftp:prefer-epsv " + yesno[s.mode.verb == "EPSV"],
	}
	if p := s.target.tls; p.protects() {
		if p.version != "" {
			script = append(script, "set ssl:priority NORMAL:-VERS-ALL:+VERS-TLS"+p.version)
		}
		script = append(script, "set ftp:ssl-force yes", "set ftp:ssl-protect-data "+yesno[!p.clear], "set ssl:ca-file "+word(p.ca))
	} else {
		script = append(script, "set ftp:ssl-allow no")
	}
	if s.target.bind.IsValid() {
		script = append(script, "set net:socket-bind-ipv4 "+s.target.bind.String())
	}
	if latin1 { // without FEAT, because of which lftp would choose UTF-8
		if s.mode == (mode{"EPSV", false}) {
			return "", fmt.Errorf("lftp needs FEAT for EPSV over IPv4: %w", errCannot)
		}
		script = append(script, "set ftp:use-feat no", "set ftp:use-utf8 no", "set ftp:charset ISO-8859-1", "set file:charset UTF-8")
	}
	script = append(script, fmt.Sprintf("open -u %s,%s %s://%s", s.target.user, s.target.pass, s.target.tls.scheme(), s.target.addr))
	script = append(script, commands...)
	cmd := exec.Command(l.path, "--norc", "-d", "-c", strings.Join(script, "; "))
	cmd.Env = environ(s.t.TempDir())
	return s.exec(cmd, data, lftpConnected, lftpSent[s.mode.verb])
}

// word quotes an argument.
func word(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (l lftp) list(s *session, verb string, dir name) (string, error) {
	command := map[string]string{
		"LIST": "ls " + word(dir.text),
		"NLST": "nlist " + word(dir.text),
		"MLSD": "set ftp:use-mlsd yes; cls --sort=name " + word(dir.text+"/"),
	}[verb]
	return l.run(s, true, dir.latin1(), command)
}

func (l lftp) get(s *session, remote name, local string, how how) error {
	command := "get "
	if how == resume {
		command = "get -c "
	}
	_, err := l.run(s, true, remote.latin1(), command+word(remote.text)+" -o "+word(local))
	return err
}

func (l lftp) put(s *session, local string, remote name, how how) error {
	command := "put "
	switch how {
	case resume:
		command = "put -c "
	case appending:
		return fmt.Errorf("lftp has no APPE: %w", errCannot)
	}
	_, err := l.run(s, true, remote.latin1(), command+word(local)+" -o "+word(remote.text))
	return err
}

func (l lftp) rename(s *session, from, to name) error {
	_, err := l.run(s, false, from.latin1(), "mv "+word(from.text)+" "+word(to.text))
	return err
}

func (l lftp) remove(s *session, file name) error {
	_, err := l.run(s, false, file.latin1(), "rm "+word(file.text))
	return err
}

func (l lftp) mkdir(s *session, dir name) error {
	_, err := l.run(s, false, dir.latin1(), "mkdir "+word(dir.text))
	return err
}

func (l lftp) rmdir(s *session, dir name) error {
	_, err := l.run(s, false, dir.latin1(), "rmdir "+word(dir.text))
	return err
}

// abort reads big into a pipe that closes early; lftp then aborts the transfer
// and goes on in the same session.
func (l lftp) abort(s *session, big, small name, local string) error {
	_, err := l.run(s, true, big.latin1() || small.latin1(),
		"set cmd:fail-exit no",
		"cat "+word(big.text)+" | head -c 100000 >/dev/null",
		"set cmd:fail-exit yes",
		"get "+word(small.text)+" -o "+word(local))
	return err
}

func (l lftp) getTree(s *session, dir name, local string) error {
	_, err := l.run(s, true, dir.latin1(), "mirror "+word(dir.text)+" "+word(local))
	return err
}

func (l lftp) putTree(s *session, local string, dir name) error {
	_, err := l.run(s, true, dir.latin1(), "mirror --reverse --parallel=4 "+word(local)+" "+word(dir.text))
	return err
}

func (l lftp) getParallel(s *session, dir name, local string) error {
	_, err := l.run(s, true, dir.latin1(), "mirror --parallel=4 "+word(dir.text)+" "+word(local))
	return err
}

func (l lftp) version() (string, error) {
	return firstLine(exec.Command(l.path, "--version"), `Version (\S+)`)
}

func (lftp) unique(*session, string, name) error { return errCannot }
