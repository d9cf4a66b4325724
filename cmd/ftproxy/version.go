package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker for releases: -ldflags "-X main.version=v1.2.3".
var version string

var versionCommand = command{
	name:    "version",
	summary: "print the version",
	help: `Version prints the version of this build, its commit, and the Go release and
platform it was built with.

Example:

  ftproxy version
`,
	run: (*program).version,
}

func (p *program) version(_ context.Context, c *command, args []string) int {
	if code, ok := p.parse(c, c.flags(), args); !ok {
		return code
	}
	fmt.Fprintf(p.stdout, "ftproxy %s (%s, %s/%s)\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}

// buildVersion is the release, or what Go knows about the checkout.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
