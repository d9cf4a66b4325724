package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cutLimit is the time of the timers that end what a cut link leaves. It is long
// because nothing else may be slower: not a server that says its replies, not a
// client that asks for a transfer.
const cutLimit = 8 * time.Second

// cutTimeouts are those that have to expire when the link of one side is cut; a
// client that is cut off gets linger to take the last reply.
var cutTimeouts = map[string]map[string]string{
	"client": {"data_stall": cutLimit.String(), "idle": cutLimit.String(), "linger": cutLimit.String()},
	"server": {"data_stall": cutLimit.String(), "reply": cutLimit.String(), "linger": "500ms"},
}

// A transferLine is what ftproxy logs of a transfer.
type transferLine struct {
	Message, Direction, Result, Cause string
	Code                              int
	Bytes                             int64
}

// logged waits for the log line of the only transfer.
func logged(t *testing.T, p *process) (line transferLine) {
	t.Helper()
	waitFor(t, "the transfer is logged", patience, func() bool {
		for text := range strings.Lines(p.out.String()) {
			var l transferLine
			if json.Unmarshal([]byte(text), &l) == nil && l.Message == "transfer" {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

// sample returns one sample of /metrics.
func sample(t *testing.T, get func(string) (string, error), name string) float64 {
	t.Helper()
	text, err := get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// wantFailure expects the log line and the metric of a transfer that failed.
func wantFailure(t *testing.T, p *process, get func(string) (string, error), direction, result string, codes ...int) transferLine {
	t.Helper()
	line := logged(t, p)
	if line.Direction != direction || line.Result != result || !slices.Contains(codes, line.Code) || line.Bytes <= 0 || line.Bytes >= bigSize {
		t.Errorf("the log says %+v, want the %s to fail for the %s's sake after a part of it, code %v", line, direction, result, codes)
	}
	name := fmt.Sprintf(`ftproxy_transfers_total{direction="%s",result="%s"}`, direction, result)
	waitFor(t, name+" is 1", patience, func() bool { return sample(t, get, name) == 1 })
	return line
}

func wantAborted(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the client's data connection ends with %v, want a reset", err)
	}
}

// TestServerKilled: the process that serves a session dies in the middle of a
// transfer. Its kernel closes the data connection as after a whole file; only
// the missing reply tells the difference, and the client must hear it.
func TestServerKilled(t *testing.T) {
	throughProxy(t)
	for _, kind := range serverKinds[:2] {
		for _, direction := range []string{"download", "upload"} {
			for _, mode := range []string{"passive", "active"} {
				t.Run(kind.name+"/"+direction+"/"+mode, func(t *testing.T) {
					t.Parallel()
					p := newPlace(t)
					s := kind.start(t, p.server, folder(t))
					serveBig(t, s)
					c := configure(t, p, s.addr)
					c.timeouts = map[string]string{"linger": never} // The end of control is the server's last word.
					ftproxy := startProxy(t, c)
					before := atRest(t, ftproxy.process)
					v := begin(t, p.client, ftproxy.addr4, s, direction, mode)
					killServing(t, s.addr)
					// The server's control connection ends before the last of
					// the data comes, as the client is slower than the server.
					wantAborted(t, v.sees(t))
					v.hear(t, 426, 421)
					wantFailure(t, ftproxy.process, ftproxy.get, direction, "server", 426)
					v.Close()
					wantIdle(t, ftproxy.process, ftproxy.get, before)
				})
			}
		}
	}
}

// killServing kills the processes that hold the accepted connection of a server
// at addr, of which there is one.
func killServing(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	inode := ""
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	local := inTable(addr)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == local && f[3] == "01" { // TCP_ESTABLISHED
			inode = "socket:[" + f[9] + "]"
		}
	}
	if inode == "" {
		t.Fatalf("no connection at %s", addr)
	}
	killed := 0
	for _, pid := range descendants(os.Getpid()) {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); to == inode {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				killed++
				break
			}
		}
	}
	if killed == 0 {
		t.Fatalf("no process holds %s", inode)
	}
}

// descendants are the processes that a process has started, at any remove.
func descendants(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// TestClientKilled: a real client dies in the middle of a transfer.
func TestClientKilled(t *testing.T) {
	throughProxy(t)
	for _, direction := range []string{"download", "upload"} {
		for _, mode := range []string{"passive", "active"} {
			t.Run(direction+"/"+mode, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				s := startVsftpd(t, p.server, folder(t))
				serveBig(t, s)
				c := configure(t, p, s.addr)
				c.timeouts = map[string]string{"linger": never} // vsftpd speaks.
				ftproxy := startProxy(t, c)
				before := atRest(t, ftproxy.process)
				args := []string{"-q", "-sS", "--limit-rate", "4M", "-u", s.user + ":" + s.pass, "--interface", p.client.String()}
				if mode == "active" {
					args = append(args, "--ftp-port", "-")
				}
				url := "ftp://" + ftproxy.addr4.String() + "/"
				arriving := filepath.Join(t.TempDir(), "got")
				if direction == "download" {
					args = append(args, "-o", arriving, url+"big")
				} else {
					arriving = filepath.Join(s.root, "sent")
					args = append(args, "-T", filepath.Join(s.root, "big"), url+"sent")
				}
				curl := start(t, "curl", exec.Command(command(t, "curl"), args...))
				waitFor(t, "a part arrives", patience, func() bool {
					info, err := os.Stat(arriving)
					return err == nil && info.Size() > 1<<20
				})
				if err := curl.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				if direction == "download" {
					wantFailure(t, ftproxy.process, ftproxy.get, direction, "client", 426)
					waitFor(t, "vsftpd sees the failure", patience, func() bool { return strings.Contains(s.log(), "FAIL DOWNLOAD") })
				} else if line := logged(t, ftproxy.process); line.Result == "ok" {
					// The client's kernel ends both its connections as after a
					// whole file. Where both ends are here before the first is
					// looked at, nobody can tell, and the server answers: what
					// was sent is then there to the last byte, and no more. It
					// is the same without ftproxy, but for the log: client_gone
					// in this line, or, where the kernel was so slow to close
					// the second connection that 226 was first, in the next.
					info, err := os.Stat(arriving)
					if err != nil || info.Size() != line.Bytes || line.Code != 226 {
						t.Errorf("the log says %+v, the file is %v, %v", line, info, err)
					}
					name := `ftproxy_sessions_ended_total{frontend="public",reason="client_gone"}`
					waitFor(t, name+" is 1", patience, func() bool { return sample(t, ftproxy.get, name) == 1 })
				} else {
					wantFailure(t, ftproxy.process, ftproxy.get, direction, "client", 426)
					waitFor(t, "vsftpd sees the failure", patience, func() bool { return strings.Contains(s.log(), "FAIL UPLOAD") })
				}
				wantIdle(t, ftproxy.process, ftproxy.get, before)
			})
		}
	}
}

// TestLinkCut: the cable of one side is pulled in the middle of a transfer.
// Nobody gets a word of it, so timers end it: data_stall the transfer, idle the
// session of a client that is gone, reply that of a server. There is nothing to
// do meanwhile, so all wait side by side.
func TestLinkCut(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	needNamespaces(t)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for _, who := range []string{"client", "server"} {
		for _, direction := range []string{"download", "upload"} {
			for _, mode := range []string{"passive", "active"} {
				waiting.Go(func() {
					t.Run(who+"/"+direction+"/"+mode, func(t *testing.T) { linkCut(t, who, direction, mode) })
				})
			}
		}
	}
}

func linkCut(t *testing.T, who, direction, mode string) {
	l := newLab(t)
	e := l.ends["IPv4"]
	var s *server
	l.server.do(t, func() { s = startVsftpd(t, e.server, folder(t)) })
	serveBig(t, s)
	ftproxy := l.startProxy(t, cutTimeouts[who], s.addr)
	before := atRest(t, ftproxy.process)
	var v *survivor
	l.client.do(t, func() { v = begin(t, e.client, netip.AddrPortFrom(e.outside, 21), s, direction, mode) })
	began := time.Now()
	cut := map[string]*netns{"client": l.client, "server": l.server}[who]
	ip(t, "-n", cut.name, "link", "set", labLink, "down")
	if who == "client" {
		// vsftpd says 426 itself as soon as it is reset.
		wantFailure(t, ftproxy.process, ftproxy.get, direction, "client", 426)
		verb := map[string]string{"download": "FAIL DOWNLOAD", "upload": "FAIL UPLOAD"}[direction]
		waitFor(t, "vsftpd sees the failure", patience, func() bool { return strings.Contains(s.log(), verb) })
	} else {
		close(v.hurry) // Nothing has stalled as long as it takes from our buffers.
		wantAborted(t, v.sees(t))
		wantFailure(t, ftproxy.process, ftproxy.get, direction, "server", 426)
	}
	// The last byte may have moved a while before the cut, if
	// the client stood still.
	if took := time.Since(began); took < cutLimit/4 {
		t.Errorf("the transfer failed after %v, which is too soon for data_stall, %v", took, cutLimit)
	}
	if who == "server" {
		v.hear(t, 426, 421)
		v.Close()
	} else {
		close(v.stop)
	}
	wantIdle(t, ftproxy.process, ftproxy.get, before)
	reason := map[string]string{"client": "idle_timeout", "server": "reply_timeout"}[who]
	name := fmt.Sprintf(`ftproxy_sessions_ended_total{frontend="public",reason="%s"}`, reason)
	if sample(t, ftproxy.get, name) != 1 {
		t.Errorf("%s is not 1:\n%s", name, ftproxy.out.tail(20))
	}
}
