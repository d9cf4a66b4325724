package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDemo pastes every line that the demo prints and that begins with curl
// into a shell, twice.
func TestDemo(t *testing.T) {
	throughProxy(t)
	command(t, "curl")
	tryDemo(t, ftproxyCommand(binary, "demo"), nil)
}

// TestDemoWithoutIPv6 does the same where IPv6 is off.
func TestDemoWithoutIPv6(t *testing.T) {
	throughProxy(t)
	command(t, "curl")
	if os.Geteuid() != 0 {
		lack(t, "only root can make a network namespace")
	}
	ip, unshare, nsenter := command(t, "ip"), command(t, "unshare"), command(t, "nsenter")
	script := ip + ` link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && exec "$0" demo`
	if out, err := exec.Command(unshare, "-n", ip, "link", "set", "lo", "up").CombinedOutput(); err != nil {
		lack(t, fmt.Sprintf("no network namespaces here: %v\n%s", err, out))
	}
	tryDemo(t, ftproxyCommand(unshare, "-n", "sh", "-c", script, binary), func(pid int) []string {
		return []string{nsenter, "-t", strconv.Itoa(pid), "-n"}
	})
}

func tryDemo(t *testing.T, cmd *exec.Cmd, enter func(pid int) []string) {
	p := start(t, "ftproxy demo", cmd)
	lines := func() (curls []string) {
		for line := range strings.Lines(p.out.String()) {
			if strings.HasPrefix(line, "curl") && strings.HasSuffix(line, "\n") {
				curls = append(curls, strings.TrimSpace(line))
			}
		}
		return curls
	}
	waitFor(t, "the demo has said how to end it", patience, func() bool {
		if !p.running() {
			t.Fatalf("the demo ended: %v\n%s", p.err, p.out)
		}
		return strings.Contains(p.out.String(), "Ctrl-C ends the demo.\n")
	})
	curls := lines()
	if len(curls) < 3 {
		t.Fatalf("%d lines begin with curl, want three at least", len(curls))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for range 2 {
		for _, line := range curls {
			argv := []string{"sh", "-c", line}
			if enter != nil {
				argv = append(enter(cmd.Process.Pid), argv...)
			}
			run := exec.CommandContext(ctx, argv[0], argv[1:]...)
			run.Dir = t.TempDir()
			run.Env = environ(run.Dir)
			var out bytes.Buffer
			run.Stdout, run.Stderr = &out, &out
			if err := run.Run(); err != nil {
				t.Errorf("%s\n%v\n%s", line, err, out.String())
			}
		}
	}
	if code := p.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d after SIGINT, want 0", code)
	}
	if strings.Contains(p.out.String(), "DATA RACE") {
		t.Errorf("data race:\n%s", p.out)
	}
}
