package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
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
	tls        clientTLS
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
	unique(s *session, local string, dir name) error // STOU
	getTree(s *session, dir name, local string) error
	putTree(s *session, local string, dir name) error
	// getParallel downloads the files of a folder, several at a time.
	getParallel(s *session, dir name, local string) error
	version() (string, error)
}

// A batch moves the files of a folder where the client does not go through
// folders by itself. The folder that they go to is there.
type (
	batchGetter interface {
		getAll(s *session, dir name, files []string, local string) error
	}
	batchPutter interface {
		putAll(s *session, local string, files []string, dir name) error
	}
)

// errCannot is the error of a client that has no such command; limits, in
// compat_known_test.go, has the reasons.
var errCannot = errors.New("the client cannot")

// unable is a client that can do nothing, for others to embed.
type unable struct{}

func (unable) list(*session, string, name) (string, error) { return "", errCannot }
func (unable) get(*session, name, string, how) error       { return errCannot }
func (unable) put(*session, string, name, how) error       { return errCannot }
func (unable) rename(*session, name, name) error           { return errCannot }
func (unable) remove(*session, name) error                 { return errCannot }
func (unable) mkdir(*session, name) error                  { return errCannot }
func (unable) rmdir(*session, name) error                  { return errCannot }
func (unable) unique(*session, string, name) error         { return errCannot }
func (unable) getTree(*session, name, string) error        { return errCannot }
func (unable) putTree(*session, string, name) error        { return errCannot }
func (unable) getParallel(*session, name, string) error    { return errCannot }

// clientKinds are all clients.
var clientKinds = []struct {
	name  string
	find  func(t testing.TB) client // ends the test where it is missing
	modes []mode
}{
	{"curl", func(t testing.TB) client { return curl{path: command(t, "curl")} }, curl{}.modes()},
	{"lftp", func(t testing.TB) client { return lftp{path: command(t, "lftp")} }, lftp{}.modes()},
	{"ftplib", func(t testing.TB) client { return ftplib{path: python(t)} }, ftplib{}.modes()},
	{"tnftp", func(t testing.TB) client { return bsdftp{path: command(t, "tnftp")} }, bsdftp{}.modes()},
	{"inetutils-ftp", func(t testing.TB) client { return bsdftp{path: command(t, "inetutils-ftp"), inetutil: true} }, bsdftp{}.modes()},
	{"ncftp", func(t testing.TB) client { return ncftp{dir: filepath.Dir(command(t, "ncftpget"))} }, ncftp{}.modes()},
	{"wget", func(t testing.TB) client { return wget{path: command(t, "wget")} }, wget{}.modes()},
	{"busybox", func(t testing.TB) client { return busybox{path: command(t, "busybox")} }, busybox{}.modes()},
	{"rclone", func(t testing.TB) client { return rclone{path: command(t, "rclone")} }, rclone{}.modes()},
	{"basic-ftp", func(t testing.TB) client {
		pkg := unpacked(t, "node", "node_modules/basic-ftp")
		return nodeftp{node: command(t, "node"), modules: filepath.Dir(filepath.Dir(pkg))}
	}, nodeftp{}.modes()},
	{"jlaffaye-ftp", func(testing.TB) client { return goftp{} }, goftp{}.modes()},
}

// A session is what a client needs to know to run once.
type session struct {
	t      testing.TB
	target target
	mode   mode

	dialogueOnStdout bool   // where exec looks for the dialogue besides stderr
	dialogueIn       string // a file
	plainList        bool   // a listing that must not be MLSD's
	saying           sync.Mutex
	said             string // the last dialogue
}

func newSession(t testing.TB, to target, m mode) *session {
	return &session{t: t, target: to, mode: m}
}

// exec runs a client and checks which data connections it says it has made.
// connected finds address and port of passive data connections in what the
// client says (nil: in the server's replies), sent the verb of the mode. Neither
// is expected of a run without data connections.
func (s *session) exec(cmd *exec.Cmd, data bool, connected, sent *regexp.Regexp) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	run.Env, run.Dir, run.Stdin = cmd.Env, cmd.Dir, cmd.Stdin
	run.WaitDelay = patience
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	said := stderr.String()
	if s.dialogueOnStdout {
		said += stdout.String()
	}
	if s.dialogueIn != "" {
		said += fileLog(s.dialogueIn)()
	}
	if err == nil {
		err = s.check(said, data, connected, sent)
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("%w\n%q\n%s%s", err, run.Args, tail(said, 60), tail(stdout.String(), 20))
	}
	return stdout.String(), nil
}

// terminate runs a client that downloads to its stdout, and sends it SIGTERM when
// 100 kB have come, of more than fits into the pipe.
func (s *session) terminate(cmd *exec.Cmd) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	run.Env, run.Dir, run.WaitDelay = cmd.Env, cmd.Dir, patience
	var stderr bytes.Buffer
	run.Stderr = &stderr
	stdout, err := run.StdoutPipe()
	if err != nil {
		return err
	}
	if err := run.Start(); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, stdout, 100_000)
	run.Process.Signal(syscall.SIGTERM)
	rest, _ := io.Copy(io.Discard, stdout)
	ended := run.Wait()
	switch {
	case err != nil:
		err = fmt.Errorf("before the signal: %w", err)
	case ctx.Err() != nil:
		err = fmt.Errorf("still runs after SIGTERM: %w", ctx.Err())
	case ended == nil && rest >= bigFileSize-100_000:
		err = errors.New("the whole file came")
	default:
		return nil
	}
	return fmt.Errorf("%w\n%q\n%s", err, run.Args, tail(stderr.String(), 60))
}

// anywhere is for clients that do not say where they connect to.
var anywhere = regexp.MustCompile(`$^`)

// check looks at the dialogue as the client tells it.
func (s *session) check(said string, data bool, connected, sent *regexp.Regexp) error {
	s.saying.Lock()
	s.said = said // the last of those that run side by side
	s.saying.Unlock()
	if s.target.hidden.IsValid() {
		for _, a := range []string{s.target.hidden.String(), comma(s.target.hidden)} {
			if strings.Contains(said, a) {
				return fmt.Errorf("the client saw the server's address %s", a)
			}
		}
	}
	if !data {
		return nil
	}
	if !sent.MatchString(said) {
		return fmt.Errorf("the client did not send %s", s.mode.verb)
	}
	if !s.mode.passive() || s.target.passive.first == 0 || connected == anywhere {
		return nil
	}
	var all [][]string
	if connected != nil {
		all = connected.FindAllStringSubmatch(said, -1)
	} else {
		all = s.replied(said)
	}
	if len(all) == 0 {
		return errors.New("no passive data connection seen")
	}
	for _, m := range all {
		port, _ := strconv.Atoi(m[2])
		if uint16(port) == s.target.addr.Port() { // the control connection
			continue
		}
		if m[1] != s.target.addr.Addr().String() || !s.target.passive.contains(uint16(port)) {
			return fmt.Errorf("data connection to %s port %s, want %s port %v", m[1], m[2], s.target.addr.Addr(), s.target.passive)
		}
	}
	return nil
}

var (
	reply227 = regexp.MustCompile(`\b227\b.*\b(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\b`)
	reply229 = regexp.MustCompile(`\b229\b.*\(\|\|\|(\d+)\|\)`)
	ncftp227 = regexp.MustCompile(`Connected to ([0-9.]+):(\d+) for PASV`) // it does not log the reply
)

// replied finds the addresses in 227 and 229 replies, in the form that
// FindAllStringSubmatch would return.
func (s *session) replied(said string) [][]string {
	all := ncftp227.FindAllStringSubmatch(said, -1)
	for _, m := range reply227.FindAllStringSubmatch(said, -1) {
		high, _ := strconv.Atoi(m[5])
		low, _ := strconv.Atoi(m[6])
		all = append(all, []string{m[0], strings.Join(m[1:5], "."), strconv.Itoa(high<<8 | low)})
	}
	for _, m := range reply229.FindAllStringSubmatch(said, -1) {
		all = append(all, []string{m[0], s.target.addr.Addr().String(), m[1]})
	}
	return all
}

// firstLine runs a program and finds a version in what it prints.
func firstLine(cmd *exec.Cmd, pattern string) (string, error) {
	out, err := cmd.CombinedOutput() // many exit with 1 after their usage
	if m := regexp.MustCompile(pattern).FindSubmatch(out); m != nil {
		return string(m[1]), nil
	}
	return "", fmt.Errorf("%q: no version: %v", cmd.Args, err)
}

// environ is the environment of clients: no settings of the user's, no web proxy.
func environ(home string, more ...string) []string {
	env := []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TERM=dumb"}
	return append(env, more...)
}
