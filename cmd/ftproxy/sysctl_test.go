package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ftproxy/config"
)

// sysctlFiles writes the two files as /proc/sys has them.
func sysctlFiles(t *testing.T, ephemeral, reserved string) string {
	t.Helper()
	root := t.TempDir()
	folder := filepath.Join(root, "net/ipv4")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ip_local_port_range": ephemeral, "ip_local_reserved_ports": reserved} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// The two files are read; what they may hold is tested where it is parsed.
func TestReadSysctl(t *testing.T) {
	want, err := config.ParseSysctl("1024\t65535\n", "8080,30000-30099\n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := readSysctl(sysctlFiles(t, "1024\t65535\n", "8080,30000-30099\n"))
	if err != nil || got.Ephemeral != want.Ephemeral || !slices.Equal(got.Reserved, want.Reserved) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := readSysctl(sysctlFiles(t, "32768\n", "")); err == nil {
		t.Error("a file that says nothing is taken")
	}
}

// Ranges from which the kernel may give a port to anybody are warned of, with
// the sysctl line; once reserved, they are not.
func TestWarnings(t *testing.T) {
	tests := []struct {
		name, root string
		want       bool
	}{
		{"overlap", sysctlFiles(t, "30000\t60999\n", "\n"), true},
		{"reserved", sysctlFiles(t, "30000\t60999\n", "30000-31099\n"), false},
		{"no overlap", sysctlFiles(t, "32768\t60999\n", "\n"), false},
		{"nothing known", t.TempDir(), false},
	}
	path := configFile(t, "127.0.0.1:2121")
	for _, tt := range tests {
		stdout, stderr := newScreen(), newScreen()
		p := &program{stdout: stdout, stderr: stderr, sysctl: tt.root}
		if code := p.run(t.Context(), []string{"check", "-config", path}); code != exitOK {
			t.Errorf("%s: exit code %d", tt.name, code)
		}
		got := strings.HasPrefix(stderr.String(), "warning: ") && strings.Contains(stderr.String(), "ip_local_reserved_ports")
		if got != tt.want || !tt.want && stderr.String() != "" {
			t.Errorf("%s: standard error %q", tt.name, stderr)
		}
		if !strings.HasSuffix(stdout.String(), path+": ok\n") {
			t.Errorf("%s: standard output %q", tt.name, stdout)
		}
	}
}
