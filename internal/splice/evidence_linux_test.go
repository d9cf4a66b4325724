package splice

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// The environment of a child process: where it dials its two conns.
const (
	childSource      = "SPLICE_TEST_SOURCE"
	childDestination = "SPLICE_TEST_DESTINATION"
	childRate        = "SPLICE_TEST_RATE" // of SetRate; empty: not called
)

// child joins two connections in a process of its own, so that nothing else
// is in its trace.
func child(source, destination string) int {
	s, err := net.Dial("tcp", source)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	d, err := net.Dial("tcp", destination)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c := New(d, s, Options{Stall: never})
	if rate, err := strconv.ParseInt(os.Getenv(childRate), 10, 64); err == nil {
		if err := c.SetRate(rate); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	r := c.Run(context.Background())
	c.Finish(context.Background(), patience)
	if r.Err != nil {
		fmt.Println(r)
		return 1
	}
	return 0
}

// lack ends a test that this machine cannot run: a failure where CI=true, which
// installs strace before.
func lack(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// TestTrace proves what the counters say: under strace, at least 99 % of the
// payload moves by splice(2) and less than 1 % by any call that copies.
func TestTrace(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		lack(t, "strace is not installed")
	}
	for _, run := range []struct {
		size int
		rate string
	}{{1 << 10, ""}, {32 << 20, ""}, {4 << 20, "8000000"}} {
		size := run.size
		trace := traced(t, strace, size, childRate+"="+run.rate)
		spliced, copied, calls := trace.bytes["splice"]/2, 0, 0
		for name, n := range trace.bytes {
			if name != "splice" {
				copied += n
			}
		}
		for _, n := range trace.calls {
			calls += n
		}
		t.Logf("%d bytes: spliced %d, copied %d (all of the process); calls on sockets and pipes %d: %v", size, spliced, copied, calls, trace.calls)
		if spliced*100 < size*99 {
			t.Errorf("%d of %d bytes were spliced", spliced, size)
		}
		if size > 1<<20 && copied*100 > size {
			t.Errorf("%d of %d bytes were copied", copied, size)
		}
	}
}

type trace struct{ bytes, calls map[string]int }

// line matches a whole call and the end of one that was interrupted.
var line = regexp.MustCompile(`^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed>).*= (-?\d+)`)

func traced(t *testing.T, strace string, size int, environment ...string) trace {
	t.Helper()
	sources, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sources.Close()
	destinations, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer destinations.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "trace")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, strace, "-f", "-o", file, "-e",
		"trace=splice,read,write,recvfrom,sendto,recvmsg,sendmsg,readv,writev,sendfile,poll,ppoll,ioctl,shutdown,pipe2,fcntl,getsockopt",
		exe)
	cmd.Env = append(os.Environ(), childSource+"="+sources.Addr().String(), childDestination+"="+destinations.Addr().String())
	cmd.Env = append(cmd.Env, environment...)
	output, ended := make(chan []byte, 1), make(chan error, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		if err != nil { // unblock the accepts
			sources.Close()
			destinations.Close()
		}
		output <- out
		ended <- err
	}()
	sender, err := sources.Accept()
	if err != nil {
		lack(t, "strace does not work here: "+string(<-output))
	}
	defer sender.Close()
	taker, err := destinations.Accept()
	if err != nil {
		t.Fatalf("%s", <-output)
	}
	go func() {
		sender.Write(make([]byte, size))
		sender.(*net.TCPConn).CloseWrite()
	}()
	taker.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.Copy(io.Discard, taker); n != int64(size) || err != nil {
		t.Errorf("%d bytes arrived, then %v", n, err)
	}
	taker.Close()
	if out, err := <-output, <-ended; err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return readTrace(t, file)
}

func readTrace(t *testing.T, file string) trace {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tr := trace{map[string]int{}, map[string]int{}}
	for s := bufio.NewScanner(f); s.Scan(); {
		m := line.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		tr.calls[m[1]]++
		switch m[1] {
		case "splice", "read", "write", "recvfrom", "sendto", "recvmsg", "sendmsg", "readv", "writev", "sendfile":
			if n, _ := strconv.Atoi(m[2]); n > 0 {
				tr.bytes[m[1]] += n
			}
		}
	}
	return tr
}
