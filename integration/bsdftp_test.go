package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// bsdftp is one of the two descendants of BSD's ftp: tnftp (Debian's "ftp") and
// that of the GNU inetutils. Both are driven by their commands on stdin, and
// end with exit code 0 whatever has happened.
type bsdftp struct {
	unable
	path     string
	inetutil bool
}

func (bsdftp) modes() []mode {
	return []mode{{"PASV", false}, {"EPSV", false}, {"PORT", false}, {"EPRT", false}, {"EPSV", true}, {"EPRT", true}}
}

var bsdftpSent = verbsAfter(`---> `)

// command returns the program, and the commands that come before the session's.
func (f bsdftp) command(s *session) (*exec.Cmd, []string) {
	args := []string{"-n", "-i", "-v", "-d"}
	var setup []string
	if f.inetutil { // all are toggles, off in the beginning
		if s.mode.passive() {
			setup = append(setup, "passive")
		}
		if !s.mode.ipv6 && (s.mode.verb == "EPSV" || s.mode.verb == "EPRT") {
			setup = append(setup, "epsv4")
		}
	} else {
		onoff := map[bool]string{true: "on", false: "off"}
		setup = append(setup, "passive "+onoff[s.mode.passive()], "epsv4 "+onoff[s.mode.verb == "EPSV" || s.mode.verb == "EPRT"])
		if s.target.bind.IsValid() {
			args = append(args, "-s", s.target.bind.String())
		}
	}
	setup = append(setup, fmt.Sprintf("open %s %d", s.target.addr.Addr(), s.target.addr.Port()),
		"user "+s.target.user+" "+s.target.pass, "binary")
	cmd := exec.Command(f.path, args...)
	cmd.Env = environ(s.t.TempDir())
	cmd.Dir = s.t.TempDir()
	return cmd, setup
}

func (f bsdftp) run(s *session, data bool, commands ...string) (string, error) {
	cmd, setup := f.command(s)
	lines := append(append(setup, commands...), "bye", "")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	s.dialogueOnStdout = true
	return s.exec(cmd, data, nil, bsdftpSent[s.mode.verb])
}

func (f bsdftp) list(s *session, verb string, dir name) (string, error) {
	command, ok := map[string]string{"LIST": "ls ", "NLST": "nlist ", "MLSD": "mlsd "}[verb]
	if f.inetutil && verb == "MLSD" || !ok {
		return "", fmt.Errorf("no %s: %w", verb, errCannot)
	}
	return f.run(s, true, command+word(dir.wire))
}

func (f bsdftp) get(s *session, remote name, local string, how how) error {
	command := "get "
	if how == resume {
		command = "reget "
	}
	_, err := f.run(s, true, command+word(remote.wire)+" "+word(local))
	return err
}

func (f bsdftp) put(s *session, local string, remote name, how how) error {
	var commands []string
	verb := "put "
	switch how {
	case resume:
		n, err := f.size(s, remote)
		if err != nil {
			return err
		}
		commands = append(commands, fmt.Sprintf("restart %d", n))
	case appending:
		verb = "append "
	}
	_, err := f.run(s, true, append(commands, verb+word(local)+" "+word(remote.wire))...)
	return err
}

// size asks the server, as the user would.
func (f bsdftp) size(s *session, remote name) (int64, error) {
	said, err := f.run(s, false, "size "+word(remote.wire))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^213 (\d+)|\t(\d+)$`).FindStringSubmatch(said)
	if m == nil {
		return 0, fmt.Errorf("no size in %q", said)
	}
	var n int64
	_, err = fmt.Sscan(m[1]+m[2], &n)
	return n, err
}

func (f bsdftp) getAll(s *session, dir name, files []string, local string) error {
	var commands []string
	for _, n := range files {
		commands = append(commands, "get "+word(path.Join(dir.wire, n))+" "+word(filepath.Join(local, n)))
	}
	_, err := f.run(s, true, commands...)
	return err
}

func (f bsdftp) putAll(s *session, local string, files []string, dir name) error {
	var commands []string
	for _, n := range files {
		commands = append(commands, "put "+word(filepath.Join(local, n))+" "+word(path.Join(dir.wire, n)))
	}
	_, err := f.run(s, true, commands...)
	return err
}

func (f bsdftp) unique(s *session, local string, dir name) error {
	_, err := f.run(s, true, "cd "+word(dir.wire), "sunique", "put "+word(local)+" "+filepath.Base(local))
	return err
}

func (f bsdftp) rename(s *session, from, to name) error {
	_, err := f.run(s, false, "rename "+word(from.wire)+" "+word(to.wire))
	return err
}

func (f bsdftp) remove(s *session, file name) error {
	_, err := f.run(s, false, "delete "+word(file.wire))
	return err
}

func (f bsdftp) mkdir(s *session, dir name) error {
	_, err := f.run(s, false, "mkdir "+word(dir.wire))
	return err
}

func (f bsdftp) rmdir(s *session, dir name) error {
	_, err := f.run(s, false, "rmdir "+word(dir.wire))
	return err
}

// abort is ^C: the client sends IAC IP, IAC DM as urgent data, and ABOR.
func (f bsdftp) abort(s *session, big, small name, local string) error {
	cmd, setup := f.command(s)
	said, err := interrupt(s, cmd, func(fifo string) string {
		return strings.Join(append(setup, "get "+word(big.wire)+" "+word(fifo)), "\n") + "\n"
	}, "get "+word(small.wire)+" "+word(local)+"\nbye\n")
	if err != nil {
		return err
	}
	if !strings.Contains(said, "ABOR") && !regexp.MustCompile(`(?m)^(226|225|426)`).MatchString(said) {
		return fmt.Errorf("no abort in\n%s", tail(said, 60))
	}
	return nil
}

// interrupt runs a client that downloads to the FIFO that before names, sends
// it SIGINT when 100 kB have come, and then gives it the commands of after. It
// returns what the client has said.
func interrupt(s *session, cmd *exec.Cmd, before func(fifo string) string, after string) (string, error) {
	fifo := filepath.Join(s.t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		return "", err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return "", err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	fail := func(err error) (string, error) {
		cmd.Process.Kill()
		<-done
		return said.String(), fmt.Errorf("%w\n%q\n%s", err, cmd.Args, said.tail(60))
	}
	if _, err := io.WriteString(stdin, before(fifo)); err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0) // does not wait for the other end
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	got := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, f, 100_000)
		got <- err
		io.Copy(io.Discard, f) // until f is closed
	}()
	select {
	case err := <-got:
		if err != nil {
			return fail(err)
		}
	case err := <-done:
		done <- err
		return fail(errors.New("ended before the download"))
	case <-time.After(90 * time.Second):
		return fail(errors.New("no 100 kB within 90 s"))
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fail(err)
	}
	if _, err := io.WriteString(stdin, after); err != nil {
		return fail(err)
	}
	stdin.Close()
	select {
	case <-done: // its exit code may tell of the abort
	case <-time.After(90 * time.Second):
		return fail(errors.New("still runs 90 s after SIGINT"))
	}
	return said.String(), nil
}

// verbsAfter finds the verbs of data connections where the client prints prefix
// and then the command.
func verbsAfter(prefix string) map[string]*regexp.Regexp {
	m := make(map[string]*regexp.Regexp)
	for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
		m[verb] = regexp.MustCompile(`(?m)` + prefix + verb + `\b`)
	}
	return m
}

func (f bsdftp) version() (string, error) {
	if f.inetutil {
		return firstLine(exec.Command(f.path, "--version"), `inetutils\) (\S+)`)
	}
	cmd := exec.Command(f.path, "-n")
	cmd.Stdin = bytes.NewBufferString("status\nbye\n")
	return firstLine(cmd, `tnftp (\S+)`)
}
