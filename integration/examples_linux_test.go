package integration

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamplesHAProxy: HAProxy takes its examples as they are, without a warning.
func TestExamplesHAProxy(t *testing.T) {
	program := unpacked(t, "haproxy", "usr/sbin/haproxy")
	files, err := filepath.Glob("../examples/haproxy/*/haproxy.cfg")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if out, err := exec.Command(program, "-c", "-f", file).CombinedOutput(); err != nil || strings.Contains(string(out), "[WARNING]") {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// TestExamplesKeepalived: keepalived takes its example, but for the interface, which is
// one that this machine has. Its exit code says nothing, as it ends itself by SIGTERM
// (2.2.7), so what it prints is what counts; a misspelt word shows that it does.
func TestExamplesKeepalived(t *testing.T) {
	program := unpacked(t, "keepalived", "usr/sbin/keepalived")
	command(t, "curl") // The example's script must be there.
	text, err := os.ReadFile("../examples/keepalived/keepalived.conf")
	if err != nil {
		t.Fatal(err)
	}
	own := strings.ReplaceAll(string(text), "eth0", interfaceHere(t))
	for _, tt := range []struct{ text, complains string }{
		{own, ""}, {strings.Replace(own, "    nopreempt\n", "    nopreemption\n", 1), "Unknown keyword 'nopreemption'"},
	} {
		path := filepath.Join(t.TempDir(), "keepalived.conf")
		write(t, path, tt.text)
		p := start(t, "keepalived", exec.Command(program, "--config-test", "--log-console", "--use-file", path))
		<-p.done
		out := strings.TrimSpace(p.out.String())
		if !strings.Contains(out, tt.complains) || tt.complains == "" && out != "" {
			t.Errorf("keepalived says %q, want %q", out, tt.complains)
		}
	}
}

// interfaceHere names one that is not loopback.
func interfaceHere(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	lack(t, "no interface but loopback")
	return ""
}
