package main

import (
	"path/filepath"
	"strings"

	"ftproxy/config"
)

// A runtimeDirectory is what systemd has made for the service, by its
// RuntimeDirectory ($RUNTIME_DIRECTORY, systemd.exec(5)); "" without one. systemd
// sets it for the service and for its ExecReload.
type runtimeDirectory string

// give puts the control socket into the directory, if the configuration does not set
// control.socket. Where it sets that to "", there is no control socket.
func (d runtimeDirectory) give(c *config.Config) {
	if d == "" || c.Written("control.socket") {
		return
	}
	first, _, _ := strings.Cut(string(d), ":")
	c.Control.Socket = filepath.Join(first, "control.sock")
}
