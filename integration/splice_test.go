package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestSplices counts with strace which system calls carry 50 MB down and 50 MB
// up: at least 99 % must go through splice(2), in both directions.
func TestSplices(t *testing.T) {
	throughProxy(t)
	strace := command(t, "strace")
	if out, err := exec.Command(strace, "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		lack(t, fmt.Sprintf("strace cannot trace here: %v\n%s", err, out))
	}
	const size = 50 << 20
	c := curl{command(t, "curl")}
	for _, m := range []mode{{"PASV", false}, {"PORT", false}} {
		for _, way := range []string{"download", "upload"} {
			t.Run(m.verb+"-"+way, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				s := startEmbedded(t, serverNamed("embedded").address(p), folder(t))
				s.kind = serverNamed("embedded")
				trace := filepath.Join(t.TempDir(), "trace")
				// -D: strace is the grandchild, so signals go to ftproxy itself.
				ftproxy := startProxy(t, configure(t, p, s.addr), strace, "-D", "-f", "-q", "-s", "0", "-o", trace,
					"-e", "trace=splice,read,write,readv,writev,sendto,recvfrom,sendmsg,recvmsg,sendfile,tee,vmsplice")
				r := &rig{server: s, proxy: ftproxy, place: p}
				b := &bench{newSession(t, r.target(t, false), m), s, c, ""}
				if way == "download" {
					want := b.serve("file", size)
					b.must(c.get(b.session, plain("file"), b.local("got"), whole))
					b.same(want, b.local("got"))
				} else {
					want := b.prepare("file", size)
					b.must(c.put(b.session, b.local("file"), plain("sent"), whole))
					b.same(want, b.disk("sent"))
				}
				if code := ftproxy.stop(t, syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d", code)
				}
				spliced, copied := traffic(t, trace, ftproxy.cmd.Process.Pid)
				spliced /= 2 // each byte into a pipe and out of it
				t.Logf("%d bytes spliced, %d bytes in reads and writes", spliced, copied)
				if spliced < size*99/100 {
					t.Errorf("%d of %d bytes went through splice", spliced, size)
				}
				if copied > size/100 {
					t.Errorf("%d bytes in reads and writes, want at most 1 %% of %d", copied, size)
				}
			})
		}
	}
}

var straced = regexp.MustCompile(`(?:^\d+ +|<\.\.\. )(\w+)(?:\(| resumed>).* = (\d+)$`)

// traffic sums up, of a process that has ended, what splice and what all the other calls have moved.
func traffic(t *testing.T, trace string, pid int) (spliced, copied int64) {
	t.Helper()
	var text string
	// The first thread is the last that is gone, and strace writes a little
	// later than that.
	last := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +\+\+\+ exited`, pid))
	waitFor(t, "strace's last line", patience, func() bool {
		b, err := os.ReadFile(trace)
		text = string(b)
		return err == nil && last.MatchString(text)
	})
	for line := range strings.Lines(text) {
		m := straced.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if m[1] == "splice" {
			spliced += n
		} else {
			copied += n
		}
	}
	return spliced, copied
}
