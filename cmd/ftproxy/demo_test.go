package main

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDemo runs the demo and returns what it tells a newcomer.
func startDemo(t *testing.T, args ...string) (r *running, shown string) {
	t.Helper()
	r = runInBackground(t, append([]string{"demo"}, args...)...)
	return r, r.waitFor(r.stdout, "Ctrl-C ends the demo.\n\n")
}

// linesWith are the lines that begin with prefix.
func linesWith(text, prefix string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// The lines to paste work as printed, twice in a row, in any directory.
func TestDemoCurlLines(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("curl is not installed")
		}
		t.Skip("curl is not installed")
	}
	r, shown := startDemo(t, "-listen", "127.0.0.1:0")
	lines := linesWith(shown, "curl ")
	if len(lines) < 6 {
		t.Fatalf("%d lines to paste", len(lines))
	}
	upload := must(os.ReadFile(uploadFile()))
	url := regexp.MustCompile(`ftp://\S+:[0-9]+`).FindString(lines[0])
	for range 2 {
		for _, line := range lines {
			out := paste(t, line)
			switch {
			case strings.Contains(line, "-T "):
				path := line[strings.LastIndex(line, "/upload/"):]
				if got := paste(t, "curl -sS "+url+path); got != string(upload) {
					t.Errorf("%s\nuploaded %q", line, got)
				}
			case strings.Contains(line, "hello.txt"):
				if out != "Hello from a server that you cannot reach, through ftproxy.\n" {
					t.Errorf("%s\ngot %q", line, out)
				}
			case strings.HasSuffix(line, "/upload/"):
				if !strings.Contains(out, "active.txt") || !strings.Contains(out, "passive.txt") {
					t.Errorf("%s\ngot %q", line, out)
				}
			default:
				if !strings.Contains(out, "README.txt") {
					t.Errorf("%s\ngot %q", line, out)
				}
			}
		}
	}
	r.waitFor(r.stdout, fmt.Sprintf("upload: STOR active.txt, %d bytes in ", len(upload)))
	r.waitFor(r.stdout, "download: RETR hello.txt, 60 bytes in ")
	r.waitFor(r.stdout, "; client said PASV, server was told PASV; 226 ok\n")
	r.signals <- syscall.SIGINT
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// paste runs a line as a terminal would, with nothing to read from it.
func paste(t *testing.T, line string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-c", line)
	c.Dir = t.TempDir()
	var errors strings.Builder
	c.Stderr = &errors
	out, err := c.Output()
	if err != nil || errors.Len() > 0 {
		t.Errorf("%s\n%v %s", line, err, errors.String())
	}
	return string(out)
}

// The server's own address, which its 227 holds, never reaches the client; and
// Ctrl-C ends the demo at once where nothing runs.
func TestDemoHidesTheServer(t *testing.T) {
	r, shown := startDemo(t, "-listen", "127.0.0.1:0")
	address := strings.TrimPrefix(regexp.MustCompile(`ftp://[0-9.:]+`).FindString(shown), "ftp://")
	conn := must(net.Dial("tcp", address))
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := textproto.NewReader(bufio.NewReader(conn))
	say := func(command string, want int) string {
		t.Helper()
		if command != "" {
			fmt.Fprintf(conn, "%s\r\n", command)
		}
		_, text, err := c.ReadResponse(want)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return text
	}
	say("", 220)
	say("USER demo", 331)
	say("PASS demo", 230)
	if text := say("PASV", 227); !strings.Contains(text, "(127,0,0,1,") {
		t.Errorf("PASV: %s", text)
	}
	r.signals <- syscall.SIGINT
	say("", 421)
	conn.Close()
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if shown := r.stdout.String(); !strings.Contains(shown, " ended (shutdown) after ") || !strings.HasSuffix(shown, "stopped\n") {
		t.Errorf("it showed:\n%s", shown)
	}
}

// The preferred port taken: another one, unless it was asked for by name.
func TestDemoPortInUse(t *testing.T) {
	if taken, err := net.Listen("tcp", demoListen); err == nil {
		defer taken.Close()
	} // otherwise somebody else has it, which is as good
	r, shown := startDemo(t)
	if strings.Contains(shown, "ftp://"+demoListen) || len(linesWith(shown, "curl ")) < 3 {
		t.Errorf("it showed:\n%s", shown)
	}
	r.signals <- syscall.SIGTERM
	if code := r.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}

	r = runInBackground(t, "demo", "-listen", demoListen)
	if code := r.exit(); code != exitFailed {
		t.Errorf("with -listen: exit code %d", code)
	}
	got := r.stderr.String()
	if !strings.HasPrefix(got, "ftproxy: demo: cannot listen on 127.0.0.1:2121: the port is in use") || !strings.HasSuffix(got, "change -listen\n") {
		t.Errorf("with -listen: %q", got)
	}
}

// Each line to paste begins with curl and stands alone; the box is a box.
func TestPrintDemo(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:2121", "[::1]:2121"} {
		var b strings.Builder
		address := must(demoAddress(listen))
		printDemo(&b, address, must(demoAddress("127.0.0.1:45678")), "/tmp/a file's name", "/tmp/certificate.pem")
		for _, line := range linesWith(b.String(), "curl ") {
			if _, err := exec.LookPath("sh"); err == nil {
				if out, err := exec.Command("sh", "-nc", line).CombinedOutput(); err != nil {
					t.Errorf("%s\n%v %s", line, err, out)
				}
			}
			if strings.Contains(line, " -T ") && !strings.Contains(line, ` -T '/tmp/a file'\''s name' `) {
				t.Errorf("not quoted: %s", line)
			}
			if strings.Contains(listen, "[") && !strings.Contains(line, "'ftp://demo:demo@[::1]:2121/") {
				t.Errorf("zsh would expand the brackets: %s", line)
			}
		}
		var widths []int
		for line := range strings.Lines(b.String()) {
			if strings.ContainsAny(line, "┌│└") {
				widths = append(widths, len([]rune(line)))
			}
		}
		for _, w := range widths {
			if w != widths[0] {
				t.Errorf("the box is crooked:\n%s", b.String())
				break
			}
		}
	}
}

// What the demo offers to upload exists, with an absolute name.
func TestUploadFile(t *testing.T) {
	path := uploadFile()
	if info, err := os.Stat(path); !filepath.IsAbs(path) || err != nil || info.Size() == 0 {
		t.Errorf("%s: %v", path, err)
	}
}
