package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A configuration without [control], as README's first one, has a control socket where
// systemd has made a directory, before and after a reload, and ExecReload finds it.
func TestControlSocketInRuntimeDirectory(t *testing.T) {
	directory, err := os.MkdirTemp("", "ftp") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(directory)
	file := configFile(t, "127.0.0.1:0")
	stdout, stderr, signals := newScreen(), newScreen(), make(chan os.Signal, 1)
	p := &program{stdout: stdout, stderr: stderr, signals: signals, sysctl: t.TempDir(), runtimeDirectory: runtimeDirectory(directory + ":/run/other")}
	ended := make(chan int)
	go func() { ended <- p.run(t.Context(), []string{"serve", "-config", file}) }()
	r := &running{t: t, stderr: stderr}
	r.waitFor(stderr, `"socket":"`+filepath.Join(directory, "control.sock")+`"`)
	for range 2 {
		var out strings.Builder
		reload := &program{stdout: &out, stderr: &out, signals: make(chan os.Signal), runtimeDirectory: runtimeDirectory(directory)}
		if code := reload.run(t.Context(), []string{"reload", "-config", file}); code != exitOK || !strings.Contains(out.String(), "reloaded: no setting has changed") {
			t.Errorf("exit code %d: %s", code, out.String())
		}
	}
	signals <- syscall.SIGTERM
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// Who turns the socket off, or has it elsewhere, is left alone.
func TestRuntimeDirectoryIsADefault(t *testing.T) {
	for _, written := range []string{"", "/run/c.sock"} {
		p := &program{stdout: io.Discard, stderr: io.Discard, runtimeDirectory: "/run/ftproxy"}
		c, ok := p.load(configFile(t, "127.0.0.1:0", "[control]", `socket = "`+written+`"`))
		if !ok || c.Control.Socket != written {
			t.Errorf("socket = %q is %q", written, c.Control.Socket)
		}
	}
}
