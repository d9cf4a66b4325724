package admin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// names lists a directory.
func names(t *testing.T, directory string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// The socket's mode lets its user and group in; nothing else is in the directory.
func TestControlSocketMode(t *testing.T) {
	path := socketPath(t)
	s, err := ListenControl(path, &fakeService{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.ModeSocket | 0o660; file.Mode() != want {
		t.Errorf("mode %v, want %v", file.Mode(), want)
	}
	if all := names(t, filepath.Dir(path)); len(all) != 1 {
		t.Errorf("in the directory: %q", all)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if all := names(t, filepath.Dir(path)); len(all) != 0 {
		t.Errorf("after Close: %q", all)
	}
}

// Before it has its mode the socket is closed to all but its user (here: on
// Linux; see closedAtFirst).
func TestControlSocketClosedAtFirst(t *testing.T) {
	path := socketPath(t)
	listen := net.ListenConfig{Control: closedAtFirst}
	l, err := listen.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := file.Mode().Perm(); runtime.GOOS == "linux" && got != 0o600 {
		t.Errorf("mode %v", got)
	}
}

// What a killed process has left is replaced.
func TestControlSocketStale(t *testing.T) {
	path := socketPath(t)
	abandonedSocket(t, path)
	listenControl(t, path, &fakeService{status: someStatus})
	if st, err := DialControl(path).Status(t.Context()); err != nil || st.PID != someStatus.PID {
		t.Errorf("Status = %+v, %v", st, err)
	}
}

// A running ftproxy keeps its socket.
func TestControlSocketInUse(t *testing.T) {
	path := socketPath(t)
	listenControl(t, path, &fakeService{status: someStatus})
	_, err := ListenControl(path, &fakeService{}, zerolog.Nop())
	if !errors.Is(err, ErrControlInUse) || !strings.Contains(err.Error(), "control socket "+path+": another ftproxy answers there") {
		t.Errorf("second server: %v", err)
	}
	if st, err := DialControl(path).Status(t.Context()); err != nil || st.PID != someStatus.PID {
		t.Errorf("Status = %+v, %v", st, err)
	}
	if all := names(t, filepath.Dir(path)); len(all) != 1 {
		t.Errorf("in the directory: %q", all)
	}
}

// Nothing but a socket is ever removed.
func TestControlSocketIsNone(t *testing.T) {
	directory := socketDirectory(t)
	place := func(name string, make func(path string) error) {
		t.Helper()
		path := filepath.Join(directory, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		_, err := ListenControl(path, &fakeService{}, zerolog.Nop())
		if !errors.Is(err, ErrNotSocket) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: %v afterwards", name, err)
		}
	}
	place("file", func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) })
	place("directory", func(path string) error { return os.Mkdir(path, 0o700) })
	place("fifo", func(path string) error { return syscall.Mkfifo(path, 0o600) })
	place("link", func(path string) error { return os.Symlink("nowhere", path) })
	abandonedSocket(t, filepath.Join(directory, "stale"))
	place("link to a socket", func(path string) error { return os.Symlink("stale", path) })
}

// Another kind of socket is somebody's; whether he answers cannot be told.
func TestControlSocketDatagram(t *testing.T) {
	path := socketPath(t)
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := ListenControl(path, &fakeService{}, zerolog.Nop()); !errors.Is(err, syscall.EPROTOTYPE) {
		t.Errorf("ListenControl: %v", err)
	}
	if all := names(t, filepath.Dir(path)); len(all) != 1 {
		t.Errorf("in the directory: %q", all)
	}
}

// Close leaves alone what another process has put at the path meanwhile.
func TestControlSocketTakenOver(t *testing.T) {
	path := socketPath(t)
	old := listenControl(t, path, &fakeService{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listenControl(t, path, &fakeService{status: someStatus})
	if err := old.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if st, err := DialControl(path).Status(t.Context()); err != nil || st.PID != someStatus.PID {
		t.Errorf("Status = %+v, %v", st, err)
	}
}

// A path that was removed from outside is no reason to complain at the end.
func TestControlSocketRemoved(t *testing.T) {
	path := socketPath(t)
	listenControl(t, path, &fakeService{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestControlSocketDirectory(t *testing.T) {
	directory := socketDirectory(t)
	file := filepath.Join(directory, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(directory, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path string
		is   error
		want string
		user bool // root may do it
	}{
		{filepath.Join(directory, "missing", "c.sock"), fs.ErrNotExist, "there is no directory " + directory + "/missing: write RuntimeDirectory=ftproxy", false},
		{filepath.Join(closed, "c.sock"), fs.ErrPermission, "may not write to " + closed, true},
		{filepath.Join(file, "c.sock"), syscall.ENOTDIR, file + " is no directory", false},
		{filepath.Join(directory, strings.Repeat("x", 107-len(directory))), nil, "at most 107 bytes: shorten control.socket by 1", false},
	}
	for _, tt := range tests {
		if tt.user && os.Getuid() == 0 {
			continue
		}
		_, err := ListenControl(tt.path, &fakeService{}, zerolog.Nop())
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.path, err, tt.want)
		}
	}
}

// The longest path that the kernel takes works.
func TestControlSocketLongPath(t *testing.T) {
	directory := socketDirectory(t)
	path := filepath.Join(directory, strings.Repeat("x", 106-len(directory)))
	listenControl(t, path, &fakeService{status: someStatus})
	if st, err := DialControl(path).Status(t.Context()); err != nil || st.PID != someStatus.PID {
		t.Errorf("Status = %+v, %v", st, err)
	}
}
