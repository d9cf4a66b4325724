package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of a test. It is there to end one that hangs, not
// to measure: the machine, or one of the processes, may stand still for seconds.
const patience = time.Minute

// A process is a program that runs beside the test. Its output is attached to
// the test's log when the test has failed.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output       // stdout and stderr together
	done chan struct{} // closed when it has ended
	err  error         // of Wait; valid once done is closed
	once sync.Once

	stopped bool // stop ended it, and not it itself
	killed  bool // so, by SIGKILL
}

// start runs a program and stops it at the end of the test.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, out: new(output), done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.out
	}
	// A group of its own, so that what it forked ends with it; killed if the
	// test process dies before its cleanup.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithTest(cmd.SysProcAttr)
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go p.wait()
	t.Cleanup(func() {
		p.stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.out.tail(200))
		}
	})
	return p
}

func (p *process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop ends the process with a signal and returns its exit code. It is killed,
// and the test fails, if patience ends first.
func (p *process) stop(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	p.once.Do(func() {
		p.stopped = p.running()
		p.killed = p.stopped && sig == syscall.SIGKILL
		if p.stopped {
			p.cmd.Process.Signal(sig)
		}
		select {
		case <-p.done:
		case <-time.After(patience):
			p.cmd.Process.Signal(syscall.SIGQUIT) // a Go program prints its goroutines
			select {
			case <-p.done:
			case <-time.After(2 * time.Second):
			}
			t.Errorf("%s still runs %v after signal %v:\n%s", p.name, patience, sig, p.out.tail(300))
		}
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	})
	<-p.done
	return p.exitCode()
}

// kill kills the process and all that it forked.
func (p *process) kill() {
	p.once.Do(func() {
		p.stopped, p.killed = true, true
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	})
}

// exitCode is -1 for a process that a signal ended.
func (p *process) exitCode() int {
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return exit.ExitCode()
	}
	if p.err != nil {
		return -1
	}
	return 0
}

// waitFor waits until cond holds, looking 50 times a second.
func waitFor(t *testing.T, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	if !holdsWithin(limit, cond) {
		t.Fatalf("not within %v: %s", limit, what)
	}
}

func holdsWithin(limit time.Duration, cond func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			return cond()
		}
	}
	return true
}

// output keeps what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// tail returns the last n lines.
func (o *output) tail(n int) string { return tail(o.String(), n) }

func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) > n {
		lines = append([]string{"…\n"}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "")
}

// fileLog reads a log file; one that is not there is empty.
func fileLog(path string) func() string {
	return func() string {
		b, _ := os.ReadFile(path)
		return string(b)
	}
}

// wantIdle waits until no session is left, and nothing that one held.
func wantIdle(t *testing.T, p *process, get func(string) (string, error), before int) {
	t.Helper()
	var held []string
	if !holdsWithin(patience, func() bool {
		text, err := get("/metrics")
		if err != nil {
			t.Fatal(err)
		}
		held = nil
		for line := range strings.Lines(text) {
			for _, gauge := range []string{"ftproxy_sessions_active", "ftproxy_transfers_active", "ftproxy_data_port_leases_pending"} {
				if strings.HasPrefix(line, gauge) && !strings.HasSuffix(line, " 0\n") {
					held = append(held, line)
				}
			}
		}
		if n := socketsOf(t, p); n > before {
			held = append(held, fmt.Sprintf("%d sockets, before %d", n, before))
		}
		return len(held) == 0
	}) {
		t.Fatalf("not released within %v: %q", patience, held)
	}
}

// atRest waits until a new ftproxy listens everywhere, and counts its sockets.
func atRest(t *testing.T, p *process) int {
	t.Helper()
	waitFor(t, "ftproxy listens", patience, func() bool { return strings.Contains(p.out.String(), `"admin listening"`) })
	return socketsOf(t, p)
}

// socketsOf counts a process's sockets.
func socketsOf(t *testing.T, p *process) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join(dir, fd.Name())); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// ip runs the tool of that name.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
