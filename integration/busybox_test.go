package integration

import (
	"fmt"
	"os/exec"
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
	all := []string{program, "-v", "-u", s.target.user, "-p", s.target.pass, "-P", fmt.Sprint(s.target.addr.Port())}
	cmd := exec.Command(b.path, append(all, args...)...)
	cmd.Env = environ(s.t.TempDir())
	_, err := s.exec(cmd, true, anywhere, busyboxSent[s.mode.verb])
	return err
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

func (b busybox) version() (string, error) {
	return firstLine(exec.Command(b.path), `BusyBox v(\S+)`)
}
