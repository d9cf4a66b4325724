package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A target is what a client connects to: ftproxy, or in direct mode the server.
type target struct {
	addr       netip.AddrPort
	user, pass string
	bind       netip.Addr // the client's own address; zero with IPv6
	passive    portRange  // where passive data connections must go; zero in direct mode
	hidden     netip.Addr // the server's address, which no client may see; zero in direct mode
}

// A mode is how the client asks for data connections.
type mode struct {
	verb string // PASV, EPSV, PORT, EPRT
	ipv6 bool
}

func (m mode) String() string {
	if m.ipv6 {
		return m.verb + "-IPv6"
	}
	return m.verb
}

func (m mode) passive() bool { return m.verb == "PASV" || m.verb == "EPSV" }

// A name is a file name as it is on the wire and on the server's disk, and as
// the user of a client with another character set types it.
type name struct {
	wire string
	text string // UTF-8
}

func plain(s string) name { return name{s, s} }

func (n name) latin1() bool { return n.wire != n.text }

// how says how a file is transferred.
type how int

const (
	whole how = iota
	resume
	appending
)

// A client is one of the FTP clients. Each call is a session of its own, so
// that every session begins from nothing. Paths are relative to the login folder.
type client interface {
	modes() []mode
	list(s *session, verb string, dir name) (string, error) // LIST, NLST or MLSD
	get(s *session, remote name, local string, how how) error
	put(s *session, local string, remote name, how how) error
	rename(s *session, from, to name) error
	remove(s *session, file name) error
	mkdir(s *session, dir name) error
	rmdir(s *session, dir name) error
	// abort ends the download of big after a while, and then downloads small;
	// in the same session where the client can.
	abort(s *session, big, small name, local string) error
}

// errCannot is the error of a client that has no such command.
var errCannot = errors.New("the client cannot")

// A session is what a client needs to know to run once.
type session struct {
	t      *testing.T
	target target
	mode   mode
}

// exec runs a client and checks which data connections it says it has made.
// connected finds address and port of passive data connections in what the
// client says, sent the verb of the mode. Neither is expected of a run without
// data connections.
func (s *session) exec(cmd *exec.Cmd, data bool, connected, sent *regexp.Regexp) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	run := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	run.Env, run.Dir, run.Stdin = cmd.Env, cmd.Dir, cmd.Stdin
	run.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	said := stderr.String()
	fail := func(err error) (string, error) {
		return stdout.String(), fmt.Errorf("%w\n%q\n%s%s", err, run.Args, tail(said, 60), tail(stdout.String(), 20))
	}
	if err != nil {
		return fail(err)
	}
	if s.target.hidden.IsValid() {
		for _, a := range []string{s.target.hidden.String(), comma(s.target.hidden)} {
			if strings.Contains(said, a) {
				return fail(fmt.Errorf("the client saw the server's address %s", a))
			}
		}
	}
	if !data {
		return stdout.String(), nil
	}
	if !sent.MatchString(said) {
		return fail(fmt.Errorf("the client did not send %s", s.mode.verb))
	}
	if s.mode.passive() && s.target.passive.first != 0 {
		all := connected.FindAllStringSubmatch(said, -1)
		if len(all) == 0 {
			return fail(errors.New("no passive data connection seen"))
		}
		for _, m := range all {
			port, _ := strconv.Atoi(m[2])
			if m[1] != s.target.addr.Addr().String() || !s.target.passive.contains(uint16(port)) {
				return fail(fmt.Errorf("data connection to %s port %s, want %s port %v", m[1], m[2], s.target.addr.Addr(), s.target.passive))
			}
		}
	}
	return stdout.String(), nil
}

// environ is the environment of clients: no settings of the user's, no web proxy.
func environ(home string, more ...string) []string {
	env := []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TERM=dumb"}
	return append(env, more...)
}
