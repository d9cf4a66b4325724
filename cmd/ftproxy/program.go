package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// What the process exits with.
const (
	exitOK     = 0
	exitFailed = 1 // a faulty configuration, or a start that failed
	exitUsage  = 2 // a command line that makes no sense
	exitCut    = 3 // it ended as asked, and something that ran had to be cut
)

// A program is one run of ftproxy, with all that it gets from the system.
type program struct {
	stdout, stderr io.Writer
	signals        <-chan os.Signal // SIGTERM, SIGINT and SIGHUP
	sysctl         string           // "/proc/sys"

	runtimeDirectory runtimeDirectory

	// lookup resolves a host name; nil is the system's way.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// lookupSRV finds SRV records, by their whole name alone; nil is the system's way.
	lookupSRV func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// A command is what the first word of the command line names.
type command struct {
	name    string
	summary string // for the list in -h
	usage   string // what follows "ftproxy name"
	help    string // what -h says, with an example
	run     func(p *program, ctx context.Context, c *command, args []string) int
}

// commands are listed by -h in this order. The first runs where none is named.
func commands() []*command {
	return []*command{&serveCommand, &checkCommand, &reloadCommand, &drainCommand, &statusCommand, &serverCommand, &firewallCommand, &demoCommand, &versionCommand}
}

// run is the whole program; it returns the exit code. It ends early, like a
// SIGTERM, when ctx ends.
func (p *program) run(ctx context.Context, args []string) int {
	all := commands()
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "-h", "-help", "--help":
		p.printHelp()
		return exitOK
	case "help":
		return p.help(args[1:])
	case "-version", "--version", "-v":
		name = versionCommand.name
	}
	if name == "" || strings.HasPrefix(name, "-") {
		return all[0].run(p, ctx, all[0], args)
	}
	if c := find(name); c != nil {
		return c.run(p, ctx, c, args[1:])
	}
	return p.misused("unknown command %q; \"ftproxy -h\" lists the commands", name)
}

func find(name string) *command {
	all := commands()
	i := slices.IndexFunc(all, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

// help answers "ftproxy help [command]".
func (p *program) help(args []string) int {
	if len(args) == 0 {
		p.printHelp()
		return exitOK
	}
	if args[0] == "help" {
		p.printHelp()
		return exitOK
	}
	c := find(args[0])
	if c == nil {
		return p.misused("unknown command %q; \"ftproxy -h\" lists the commands", args[0])
	}
	return c.run(p, context.Background(), c, []string{"-h"})
}

func (p *program) printHelp() {
	var b bytes.Buffer
	b.WriteString("ftproxy stands in front of FTP servers: clients see one address, one control\n" +
		"port and a small range of data ports, and so do the servers.\n\nUsage:\n\n" +
		"  ftproxy [command] [flags]\n\nCommands:\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(&b, "  %-9s %s\n", "help", "explain a command, like its -h")
	b.WriteString("\n\"ftproxy demo\" needs no configuration and shows how it works.\n" +
		"\"ftproxy COMMAND -h\" explains a command, with an example.\n")
	_, _ = p.stdout.Write(b.Bytes())
}

// misused reports a command line that makes no sense.
func (p *program) misused(format string, a ...any) int {
	p.complain(fmt.Sprintf(format, a...))
	return exitUsage
}

// failed reports an error, one line for each error that it joins.
func (p *program) failed(err error) int {
	for line := range strings.Lines(err.Error()) {
		p.complain(strings.TrimRight(line, "\n"))
	}
	return exitFailed
}

func (p *program) complain(line string) {
	fmt.Fprintf(p.stderr, "ftproxy: %s\n", line)
}

// flags returns an empty set of flags for a command.
func (c *command) flags() *flag.FlagSet {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // parse prints, with hints
	return f
}

// parse reads the flags of a command that takes no other arguments. Where it
// is not ok the command ends with the code: help was asked for, or args are wrong.
func (p *program) parse(c *command, f *flag.FlagSet, args []string) (code int, ok bool) {
	_, code, ok = p.parseWords(c, f, args, 0)
	return code, ok
}

// parseWords is parse for a command that takes n other arguments, before or after its flags.
func (p *program) parseWords(c *command, f *flag.FlagSet, args []string, n int) (words []string, code int, ok bool) {
	err := f.Parse(args)
	for err == nil && f.NArg() > 0 && len(words) < n {
		words = append(words, f.Arg(0))
		err = f.Parse(f.Args()[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		var b bytes.Buffer
		fmt.Fprintf(&b, "Usage:\n\n  %s\n\n%s", strings.TrimSpace("ftproxy "+c.name+" "+c.usage), c.help)
		f.SetOutput(&b)
		if c.usage != "" {
			b.WriteString("\nFlags:\n\n")
			f.PrintDefaults()
		}
		_, _ = p.stdout.Write(b.Bytes())
		return nil, exitOK, false
	case err != nil:
		return nil, p.misused("%s: %v; \"ftproxy %s -h\" lists the flags", c.name, err, c.name), false
	case f.NArg() > 0:
		return nil, p.misused("%s: %q is one argument too many; \"ftproxy %s -h\" explains it", c.name, f.Arg(0), c.name), false
	case len(words) < n:
		return nil, p.misused("%s: an argument is missing: ftproxy %s %s", c.name, c.name, c.usage), false
	}
	return words, exitOK, true
}
