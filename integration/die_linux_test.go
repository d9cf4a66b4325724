package integration

import "syscall"

// dieWithTest has a process killed if the test process dies before its cleanup.
func dieWithTest(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
