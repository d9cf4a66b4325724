//go:build unix

package admin

import (
	"io/fs"
	"os/user"
	"strconv"
	"syscall"
)

// closedAtFirst lets nobody but the service's user connect to a socket before it
// has its mode. Linux takes the mode of the file that bind(2) makes from the
// socket; other systems refuse to change it, and there only the temporary name,
// which nobody knows, stands before the door.
func closedAtFirst(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.Fchmod(int(fd), controlMode&0o600)
	})
}

// groupOf names the group that a file belongs to, or its number where it has no name.
func groupOf(file fs.FileInfo) string {
	system, ok := file.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	id := strconv.FormatUint(uint64(system.Gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
