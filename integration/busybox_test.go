package integration

import (
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
)

// busybox has two programs that move one file. They say EPSV, and PASV where
// the server has no EPSV.
type busybox struct {
	unable
	path string
}

func (busybox) modes() []mode { return []mode{{"EPSV", false}, {"EPSV", true}} }

var busyboxSent = verbsAfter(`cmd `)

func (b busybox) run(s *session, program string, args ...string) error {
	_, err := s.exec(b.command(s, program, args...), true, anywhere, busyboxSent[s.mode.verb])
	return err
}

func (b busybox) command(s *session, program string, args ...string) *exec.Cmd {
	all := []string{program, "-v", "-u", s.target.user, "-p", s.target.pass, "-P", fmt.Sprint(s.target.addr.Port())}
	cmd := exec.Command(b.path, append(all, args...)...)
	cmd.Env = environ(s.t.TempDir())
	return cmd
}

func (b busybox) get(s *session, remote name, local string, how how) error {
	args := []string{s.target.addr.Addr().String(), local, remote.wire}
	if how == resume {
		args = append([]string{"-c"}, args...)
	}
	return b.run(s, "ftpget", args...)
}

func (b busybox) put(s *session, local string, remote name, how how) error {
	if how != whole {
		return b.unable.put(s, local, remote, how)
	}
	return b.run(s, "ftpput", s.target.addr.Addr().String(), remote.wire, local)
}

// abort ends the program.
func (b busybox) abort(s *session, big, small name, local string) error {
	if err := s.terminate(b.command(s, "ftpget", s.target.addr.Addr().String(), "-", big.wire)); err != nil {
		return err
	}
	return b.get(s, small, local, whole)
}

// getAll and putAll are a session for each file.
func (b busybox) getAll(s *session, dir name, files []string, local string) error {
	for _, n := range files {
		if err := b.get(s, plain(path.Join(dir.wire, n)), filepath.Join(local, n), whole); err != nil {
			return err
		}
	}
	return nil
}

func (b busybox) putAll(s *session, local string, files []string, dir name) error {
	for _, n := range files {
		if err := b.put(s, filepath.Join(local, n), plain(path.Join(dir.wire, n)), whole); err != nil {
			return err
		}
	}
	return nil
}

func (b busybox) version() (string, error) {
	return firstLine(exec.Command(b.path), `BusyBox v(\S+)`)
}
