package main

import (
	"path/filepath"
	"strings"

	"ftproxy/config"
)

// A runtimeDirectory is what systemd has made for the service, by its
// RuntimeDirectory ($RUNTIME_DIRECTORY, systemd.exec(5)); "" without one. Both the
// service and its ExecReload are told.
type runtimeDirectory string

// give has a configuration that does not say where its control socket is, not even
// that there is none, have it in the directory.
func (d runtimeDirectory) give(c *config.Config) {
	if d == "" || c.Written("control.socket") {
		return
	}
	first, _, _ := strings.Cut(string(d), ":")
	c.Control.Socket = filepath.Join(first, "control.sock")
}
