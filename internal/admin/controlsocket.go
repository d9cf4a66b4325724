package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// controlMode lets the user of the service and the group of the socket in.
	controlMode = 0o660
	// maxSocketPath is what sun_path holds besides its NUL (unix(7)).
	maxSocketPath = 107
	// probeLimit is how long a socket that was there before gets to take a connection.
	probeLimit = 10 * time.Second
)

// A controlSocket listens at a path of the file system.
type controlSocket struct {
	net.Listener
	path string
	file fs.FileInfo // of the socket, to tell it from what others put there later
}

// listenSocket listens at path. A socket that is there already is replaced where
// nobody answers it: its process has ended without removing it.
func listenSocket(path string) (*controlSocket, error) {
	s, err := bindSocket(path)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	return s, nil
}

func bindSocket(path string) (*controlSocket, error) {
	if err := replaceable(path); err != nil {
		return nil, err
	}
	// The name that clients know appears once the mode is right.
	temporary := filepath.Join(filepath.Dir(path), "."+rand.Text()[:6])
	if longest := max(len(path), len(temporary)); longest > maxSocketPath {
		return nil, fmt.Errorf("a Unix socket has a path of at most %d bytes: shorten control.socket by %d", maxSocketPath, longest-maxSocketPath)
	}
	listen := net.ListenConfig{Control: closedAtFirst}
	l, err := listen.Listen(context.Background(), "unix", temporary)
	if err != nil {
		return nil, explainBind(err, filepath.Dir(path))
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	s := &controlSocket{Listener: l, path: path}
	if s.file, err = publish(temporary, path); err != nil {
		return nil, errors.Join(err, l.Close(), removeIfThere(temporary))
	}
	return s, nil
}

// publish gives the socket its mode and then its name.
func publish(temporary, path string) (fs.FileInfo, error) {
	if err := os.Chmod(temporary, controlMode); err != nil {
		return nil, err
	}
	file, err := os.Lstat(temporary)
	if err != nil {
		return nil, err
	}
	return file, os.Rename(temporary, path)
}

// Close removes the path, if it is still this socket's, and stops listening. The
// path goes first: as long as somebody listens, no other ftproxy takes it over.
func (s *controlSocket) Close() error {
	var err error
	if file, lost := os.Lstat(s.path); lost == nil && os.SameFile(file, s.file) {
		err = removeIfThere(s.path)
	}
	return errors.Join(err, s.Listener.Close())
}

// gone tells whether clients cannot find the socket any more: its path was removed,
// or is another's.
func (s *controlSocket) gone() bool {
	file, err := os.Lstat(s.path)
	return err != nil || !os.SameFile(file, s.file)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replaceable tells whether path is free for a socket, or why not.
func replaceable(path string) error {
	file, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return explainBind(err, filepath.Dir(path))
	case file.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%w, and ftproxy deletes no file: move it away, or change control.socket", ErrNotSocket)
	}
	conn, err := net.DialTimeout("unix", path, probeLimit)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%w there: stop it, or change control.socket", ErrControlInUse)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("cannot tell whether another ftproxy answers there: %w", bare(err))
}

// explainBind says what to do where a socket cannot be made in a directory.
func explainBind(err error, directory string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s: write RuntimeDirectory=ftproxy into the systemd unit, which makes /run/ftproxy, "+
			"or make it with `mkdir`: %w", directory, bare(err))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the user that ftproxy runs as (uid %d) may not write to %s: write RuntimeDirectory=ftproxy into the systemd unit, "+
			"or make that user its owner with `chown`: %w", os.Getuid(), directory, bare(err))
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s is no directory: %w", directory, bare(err))
	}
	return bare(err)
}

// bare is the system's error without what net and os say about the path, which
// the message has already.
func bare(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
