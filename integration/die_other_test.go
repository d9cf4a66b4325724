//go:build !linux

package integration

import "syscall"

// dieWithTest does nothing: only Linux has that.
func dieWithTest(*syscall.SysProcAttr) {}
