package integration

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCrossingsSplice counts with strace which system calls carry the payload
// of every data connection, whatever its modes and families are: at least 99 %
// must go through splice(2).
func TestCrossingsSplice(t *testing.T) {
	strace := command(t, "strace")
	if out, err := exec.Command(strace, "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		lack(t, fmt.Sprintf("strace cannot trace here: %v\n%s", err, out))
	}
	const size = 1 << 20
	trace := filepath.Join(t.TempDir(), "trace")
	// -D: strace is the grandchild, so signals go to ftproxy itself. -yy: the
	// addresses of sockets.
	x := newCrossroads(t, serverNamed("vsftpd"), strace, "-D", "-f", "-yy", "-qq", "-s", "0", "-o", trace,
		"-e", "trace=splice,read,write,readv,writev,sendto,recvfrom,sendmsg,recvmsg,sendfile,tee,vmsplice")
	x.judge(t, x.crossAll(t, size))
	log := x.proxy.transfers(t, 0)
	if code := x.proxy.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	moved := payload(t, trace)
	cells := 0
	for path, line := range log {
		if line.Bytes != size {
			t.Errorf("%s: ftproxy has logged %d bytes, want %d", path, line.Bytes, size)
		}
		into, out := "client", "server"
		ends := map[string]ends{
			"client": {line.ClientDataLocal, line.ClientData}, "server": {line.ServerDataLocal, line.ServerData},
		}
		if strings.HasSuffix(path, "-down") {
			into, out = out, into
		}
		cells++
		for side, spliced := range map[string]int64{into: moved[ends[into]].in, out: moved[ends[out]].out} {
			if spliced < size*99/100 || spliced > size {
				t.Errorf("%s: %d of %d bytes went through splice on the %s's side", path, spliced, size, side)
			}
			if copied := moved[ends[side]].copied; copied > size/100 {
				t.Errorf("%s: %d of %d bytes were copied on the %s's side", path, copied, size, side)
			}
		}
	}
	want := 0
	for _, c := range allCrossings() {
		if _, refused := c.want(); refused == 0 {
			want += 2
		}
	}
	if cells != want {
		t.Errorf("%d transfers were logged, want %d", cells, want)
	}
	t.Logf("%d transfers of %d bytes", cells, size)
}

// ends are the addresses of a connection of ftproxy's, its own first.
type ends struct{ local, remote netip.AddrPort }

// carried is what went over a connection: spliced from it and into it, and all
// that other system calls have moved.
type carried struct{ in, out, copied int64 }

var (
	tracedCall    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	tracedResumed = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	tracedResult  = regexp.MustCompile(` = (\d+)$`)
	tracedSocket  = regexp.MustCompile(`<TCP(?:v6)?:\[(.+?)->(.+?)\]>`)
)

// payload sums up a trace by connection.
func payload(t *testing.T, trace string) map[ends]carried {
	t.Helper()
	var text string
	size := -1
	// strace has written all once the process's last thread is gone.
	waitFor(t, "strace's last line", time.Minute, func() bool {
		b, err := os.ReadFile(trace)
		text = string(b)
		settled := err == nil && len(b) > 0 && len(b) == size
		size = len(b)
		return settled
	})
	moved := make(map[ends]carried)
	type call struct{ name, args string }
	unfinished := make(map[string]call) // by thread
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		var c call
		if m := tracedResumed.FindStringSubmatch(line); m != nil {
			c = unfinished[m[1]]
			c.args += m[2]
			delete(unfinished, m[1])
		} else if m := tracedCall.FindStringSubmatch(line); m != nil {
			c = call{m[2], m[3]}
			if strings.HasSuffix(line, "<unfinished ...>") {
				unfinished[m[1]] = c
				continue
			}
		}
		result := tracedResult.FindStringSubmatch(line)
		if result == nil {
			continue // failed, or no call
		}
		n, err := strconv.ParseInt(result[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		socket := tracedSocket.FindStringSubmatchIndex(c.args)
		if socket == nil {
			continue
		}
		key := ends{tracedAddr(t, c.args[socket[2]:socket[3]]), tracedAddr(t, c.args[socket[4]:socket[5]])}
		sum := moved[key]
		pipe := strings.Index(c.args, "<pipe:")
		switch {
		case c.name != "splice":
			sum.copied += n
		case pipe >= 0 && pipe < socket[0]:
			sum.out += n
		default:
			sum.in += n
		}
		moved[key] = sum
	}
	return moved
}

func tracedAddr(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatalf("strace: %v", err)
	}
	return a
}
