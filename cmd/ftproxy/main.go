// Ftproxy is an FTP reverse proxy: clients see one address, one control port
// and a small range of data ports, and so do the servers behind it.
//
// Run "ftproxy demo" to see it work, and "ftproxy -h" for the rest.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Buffered, so that a second signal is not lost while the first is acted on.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	p := &program{stdout: os.Stdout, stderr: os.Stderr, signals: signals, sysctl: "/proc/sys",
		runtimeDirectory: runtimeDirectory(os.Getenv("RUNTIME_DIRECTORY"))}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}
