package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jlaffaye/ftp"
)

// goftp is the Go library github.com/jlaffaye/ftp. It knows no active mode and
// sends PRET before EPSV and PASV where FEAT has it.
type goftp struct{ unable }

func (goftp) modes() []mode { return []mode{{"PASV", false}, {"EPSV", false}, {"EPSV", true}} }

var goftpSent = verbsAfter(`^`)

// run does its work in one session.
func (g goftp) run(s *session, data bool, do func(*ftp.ServerConn) error, more ...ftp.DialOption) error {
	var said output
	dialer := net.Dialer{Timeout: time.Minute}
	if s.target.bind.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.target.bind, 0))
	}
	options := append([]ftp.DialOption{
		ftp.DialWithDialer(dialer), ftp.DialWithShutTimeout(time.Minute), ftp.DialWithDebugOutput(&said),
		ftp.DialWithDisabledEPSV(s.mode.verb == "PASV"),
	}, more...)
	err := func() error {
		c, err := ftp.Dial(s.target.addr.String(), options...)
		if err != nil {
			return err
		}
		defer c.Quit()
		if err := c.Login(s.target.user, s.target.pass); err != nil {
			return err
		}
		return do(c)
	}()
	if err == nil {
		err = s.check(said.String(), data, nil, goftpSent[s.mode.verb])
	}
	if err != nil && !errors.Is(err, errCannot) {
		err = fmt.Errorf("%w\n%s", err, said.tail(60))
	}
	return err
}

func (g goftp) list(s *session, verb string, dir name) (string, error) {
	var names []string
	err := g.run(s, true, func(c *ftp.ServerConn) (err error) {
		if verb == "NLST" {
			names, err = c.NameList(dir.wire)
			return err
		}
		entries, err := c.List(dir.wire)
		for _, e := range entries {
			names = append(names, e.Name)
		}
		return err
	}, ftp.DialWithDisabledMLSD(verb != "MLSD"), ftp.DialWithDisabledUTF8(dir.latin1()))
	return strings.Join(names, "\n"), err
}

func (g goftp) get(s *session, remote name, local string, how how) error {
	return g.run(s, true, func(c *ftp.ServerConn) error {
		return g.download(c, remote, local, how)
	}, ftp.DialWithDisabledUTF8(remote.latin1()))
}

func (goftp) download(c *ftp.ServerConn, remote name, local string, how how) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	var from uint64
	if how == resume {
		flags = os.O_WRONLY | os.O_APPEND
		info, err := os.Stat(local)
		if err != nil {
			return err
		}
		from = uint64(info.Size())
	}
	f, err := os.OpenFile(local, flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := c.RetrFrom(remote.wire, from)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, r.Close())
}

func (g goftp) put(s *session, local string, remote name, how how) error {
	return g.run(s, true, func(c *ftp.ServerConn) error {
		return g.upload(c, local, remote, how)
	}, ftp.DialWithDisabledUTF8(remote.latin1()))
}

func (goftp) upload(c *ftp.ServerConn, local string, remote name, how how) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	switch how {
	case appending:
		return c.Append(remote.wire, f)
	case resume:
		n, err := c.FileSize(remote.wire)
		if err != nil {
			return err
		}
		if _, err := f.Seek(n, io.SeekStart); err != nil {
			return err
		}
		return c.StorFrom(remote.wire, f, uint64(n))
	}
	return c.Stor(remote.wire, f)
}

func (g goftp) putAll(s *session, local string, files []string, dir name) error {
	return g.run(s, true, func(c *ftp.ServerConn) error {
		for _, n := range files {
			if err := g.upload(c, filepath.Join(local, n), plain(path.Join(dir.wire, n)), whole); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g goftp) getTree(s *session, dir name, local string) error {
	return g.run(s, true, func(c *ftp.ServerConn) error { return g.tree(c, dir.wire, local) })
}

// tree uses no Walk, which wants absolute names.
func (g goftp) tree(c *ftp.ServerConn, dir, local string) error {
	if err := os.MkdirAll(local, 0o755); err != nil {
		return err
	}
	entries, err := c.List(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := path.Join(dir, e.Name), filepath.Join(local, e.Name)
		switch {
		case e.Name == "." || e.Name == "..":
		case e.Type == ftp.EntryTypeFolder:
			err = g.tree(c, from, to)
		default:
			err = g.download(c, plain(from), to, whole)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g goftp) rename(s *session, from, to name) error {
	return g.run(s, false, func(c *ftp.ServerConn) error { return c.Rename(from.wire, to.wire) }, ftp.DialWithDisabledUTF8(from.latin1()))
}

func (g goftp) remove(s *session, file name) error {
	return g.run(s, false, func(c *ftp.ServerConn) error { return c.Delete(file.wire) }, ftp.DialWithDisabledUTF8(file.latin1()))
}

func (g goftp) mkdir(s *session, dir name) error {
	return g.run(s, false, func(c *ftp.ServerConn) error { return c.MakeDir(dir.wire) }, ftp.DialWithDisabledUTF8(dir.latin1()))
}

func (g goftp) rmdir(s *session, dir name) error {
	return g.run(s, false, func(c *ftp.ServerConn) error { return c.RemoveDir(dir.wire) }, ftp.DialWithDisabledUTF8(dir.latin1()))
}

// abort closes the data connection, for the library has no ABOR, and goes on.
func (g goftp) abort(s *session, big, small name, local string) error {
	return g.run(s, true, func(c *ftp.ServerConn) error {
		r, err := c.Retr(big.wire)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, r, 100_000); err != nil {
			return err
		}
		if err := r.Close(); err == nil {
			return errors.New("closed in the middle, and the server calls it complete")
		}
		return g.download(c, small, local, whole)
	})
}

// getParallel uses one session for each file, for a session is not safe for
// several goroutines.
func (g goftp) getParallel(s *session, dir name, local string) error {
	if err := os.MkdirAll(local, 0o755); err != nil {
		return err
	}
	list, err := g.list(s, "NLST", dir)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	names := strings.Split(list, "\n")
	errs := make([]error, len(names))
	free := make(chan struct{}, 4)
	for i, n := range names {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			if n = path.Base(n); n == "." || n == ".." { // pure-ftpd lists them
				return
			}
			errs[i] = g.get(s, plain(path.Join(dir.wire, n)), filepath.Join(local, n), whole)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (goftp) version() (string, error) { return moduleVersion("github.com/jlaffaye/ftp") }

// moduleVersion is the version of a module that the tests are built with.
func moduleVersion(module string) (string, error) {
	return firstLine(exec.Command("go", "list", "-m", "-f", "{{.Version}}", module), `^v(\S+)`)
}
