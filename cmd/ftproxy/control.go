package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"ftproxy/config"
	"ftproxy/internal/admin"
)

var reloadCommand = command{
	name:    "reload",
	summary: "put a changed configuration in force, without losing a session",
	usage:   "[-config FILE] [-socket PATH]",
	help: `Reload checks the configuration, makes the running ftproxy put it in force, and
tells what has changed. Sessions that run keep the rules that they began with.
A faulty file changes nothing: its faults are printed as "ftproxy check" prints
them. The service reads the file that it was started with; -config names it here
so that control.socket is found. With -socket alone no file is read here.

Exit codes: 0 it is in force, 1 it was refused or ftproxy cannot be reached,
2 wrong usage.

Example:

  ftproxy reload -config /etc/ftproxy/config.toml
`,
	run: (*program).reload,
}

var drainCommand = command{
	name:    "drain",
	summary: "make ftproxy leave service, and wait until it has",
	usage:   "[-config FILE] [-socket PATH]",
	help: `Drain makes the running ftproxy leave service: after shutdown_delay it takes
no new clients, lets running transfers end within timeouts.drain, cuts what
still runs then, and ends. The command waits for that; on a terminal it tells
how many still run.
Ctrl-C ends the waiting only.

Exit codes: 0 it has left and nothing was cut, 1 it cannot be reached or nobody
waited, 2 wrong usage, 3 it has left and something had to be cut.

Example:

  ftproxy drain -config /etc/ftproxy/config.toml
`,
	run: (*program).drain,
}

var statusCommand = command{
	name:    "status",
	summary: "tell what the running ftproxy does now",
	usage:   "[-config FILE] [-socket PATH] [-json]",
	help: `Status prints one screen about the running ftproxy: what it is, what is in force
since when, what came of the last reload, and how much of its limits and ports
is in use. Of each range of data ports it tells how many connections are waited
for (pending), how many keep their port (held), and how many transfers wait for
a port to become free.

Exit codes: 0 printed, 1 ftproxy cannot be reached, 2 wrong usage.

Example:

  ftproxy status -config /etc/ftproxy/config.toml
  ftproxy status -socket /run/ftproxy/control.sock -json
`,
	run: (*program).status,
}

// statusLimit is how long a service has to tell its status, which takes it no time.
const statusLimit = 30 * time.Second

var errNoAnswer = fmt.Errorf("the service has not answered for %v; its log may tell why", statusLimit)

// errMoved is said where a reload finds nobody.
var errMoved = errors.New("where control.socket is what you have changed, name the one before with -socket")

// A controlRequest says where the running service is.
type controlRequest struct {
	config, socket string
	named          bool   // -config was given
	strict         bool   // the configuration must have no faults
	instead        string // what does the same without a control socket
}

// ask reads the flags of a command that asks the running service, among them
// those that f has already.
func (p *program) ask(c *command, f *flag.FlagSet, args []string) (r controlRequest, code int, ok bool) {
	r, _, code, ok = p.askAbout(c, f, args, 0)
	return r, code, ok
}

// askAbout is ask for a command that takes n other arguments.
func (p *program) askAbout(c *command, f *flag.FlagSet, args []string, n int) (r controlRequest, words []string, code int, ok bool) {
	f.StringVar(&r.config, "config", defaultConfig, "read in the configuration `FILE` where the control socket is")
	f.StringVar(&r.socket, "socket", "", "ask at the control socket `PATH`, whatever the configuration says")
	words, code, ok = p.parseWords(c, f, args, n)
	f.Visit(func(given *flag.Flag) { r.named = r.named || given.Name == "config" })
	return r, words, code, ok
}

// find returns the way to the service. Where it is not ok it has said why.
func (p *program) find(r controlRequest) (c *admin.Client, ok bool) {
	if r.socket != "" && !r.named {
		return admin.DialControl(r.socket), true
	}
	if !r.strict {
		if socket := cmp.Or(r.socket, config.FindControlSocket(r.config)); socket != "" {
			return admin.DialControl(socket), true
		}
	}
	conf, ok := p.load(r.config)
	if !ok {
		if !r.strict {
			p.complain("with -socket PATH no configuration is needed")
		}
		return nil, false
	}
	switch {
	case r.socket != "":
		return admin.DialControl(r.socket), true
	case conf.Control.Socket != "":
		return admin.DialControl(conf.Control.Socket), true
	}
	p.complain(fmt.Sprintf("%s has no control.socket: write\n\n  [control]\n  socket = \"/run/ftproxy/control.sock\"\n\n"+
		"into it and send ftproxy a SIGHUP, which puts it in force. Where systemd has started ftproxy by its unit, "+
		"name its socket: -socket /run/ftproxy/control.sock. %s", r.config, r.instead))
	return nil, false
}

func (p *program) reload(ctx context.Context, c *command, args []string) int {
	r, code, ok := p.ask(c, c.flags(), args)
	if !ok {
		return code
	}
	r.strict, r.instead = true, "SIGHUP reloads, too"
	service, ok := p.find(r)
	if !ok {
		return p.unchanged()
	}
	ctx, done := p.untilSignal(ctx)
	defer done()
	reloaded, err := service.Reload(ctx)
	var refusal *admin.Refusal
	switch {
	case errors.As(err, &refusal):
		fmt.Fprintln(p.stderr, refusal.Text)
		return p.unchanged()
	case errors.Is(err, admin.ErrNotReachable) && r.socket == "":
		return p.failed(errors.Join(err, errMoved))
	case err != nil:
		return p.failed(err)
	}
	for _, w := range reloaded.Warnings {
		fmt.Fprintf(p.stderr, "warning: %s\n", w)
	}
	var b bytes.Buffer
	if len(reloaded.Changes) == 0 {
		b.WriteString("reloaded: no setting has changed; certificates were read again\n")
	} else {
		fmt.Fprintf(&b, "reloaded: %s\n", count(len(reloaded.Changes), "change"))
	}
	for _, change := range reloaded.Changes {
		fmt.Fprintf(&b, "  %s\n", change)
	}
	_, _ = p.stdout.Write(b.Bytes())
	return exitOK
}

// unchanged ends a reload that did not come about.
func (p *program) unchanged() int {
	p.complain("not reloaded, the running configuration stays in force")
	return exitFailed
}

func (p *program) drain(ctx context.Context, c *command, args []string) int {
	r, code, ok := p.ask(c, c.flags(), args)
	if !ok {
		return code
	}
	r.instead = "SIGTERM drains, too"
	service, ok := p.find(r)
	if !ok {
		return exitFailed
	}
	ctx, done := p.untilSignal(ctx)
	defer done()
	var ticks <-chan time.Time
	if attended(p.stderr) {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		ticks = ticker.C
	}
	drained, err := p.waitForDrain(ctx, service, ticks)
	var stopped *stoppedError
	switch {
	case errors.As(err, &stopped):
		return p.failed(fmt.Errorf("%w: nobody waits any more; ftproxy leaves service all the same", err))
	case err != nil:
		return p.failed(err)
	case drained.Cut:
		p.complain("left service; what still ran at the end was cut")
		return exitCut
	}
	fmt.Fprintln(p.stdout, "left service; nothing was cut")
	return exitOK
}

func (p *program) status(ctx context.Context, c *command, args []string) int {
	f := c.flags()
	raw := f.Bool("json", false, "print JSON, for programs")
	r, code, ok := p.ask(c, f, args)
	if !ok {
		return code
	}
	r.instead = "the log and the metrics tell, too"
	service, ok := p.find(r)
	if !ok {
		return exitFailed
	}
	ctx, done := p.untilSignal(ctx)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, statusLimit, errNoAnswer)
	defer cancel()
	if *raw {
		text, err := service.StatusJSON(ctx)
		if err != nil {
			return p.failed(err)
		}
		fmt.Fprintf(p.stdout, "%s\n", text)
		return exitOK
	}
	st, err := service.Status(ctx)
	if err != nil {
		return p.failed(err)
	}
	_, _ = io.WriteString(p.stdout, statusScreen(st, time.Now()))
	return exitOK
}

// A stoppedError is a signal that ends what a command waits for.
type stoppedError struct{ signal os.Signal }

func (e *stoppedError) Error() string { return e.signal.String() }

// untilSignal returns a context that ends with ctx, and with a *stoppedError at
// a signal. done releases it.
func (p *program) untilSignal(ctx context.Context) (until context.Context, done func()) {
	until, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go p.cancelOnSignal(until, cancel, watched)
	return until, func() {
		cancel(nil)
		<-watched
	}
}

func (p *program) cancelOnSignal(ctx context.Context, cancel context.CancelCauseFunc, watched chan<- struct{}) {
	defer close(watched)
	select {
	case sig := <-p.signals:
		cancel(&stoppedError{sig})
	case <-ctx.Done():
	}
}

// waitForDrain makes the service leave, and meanwhile tells how many still run.
func (p *program) waitForDrain(ctx context.Context, service *admin.Client, ticks <-chan time.Time) (admin.Drained, error) {
	telling, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go p.tellDrain(telling, service, ticks, told)
	drained, err := service.Drain(ctx)
	stop()
	<-told
	return drained, err
}

// tellDrain says on standard error how many still run, at each tick at which it
// is not what it was before, until ctx ends.
func (p *program) tellDrain(ctx context.Context, service *admin.Client, ticks <-chan time.Time, told chan<- struct{}) {
	defer close(told)
	last := ""
	for {
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
		st, err := service.Status(ctx)
		if err != nil {
			continue // It has left, most likely; Drain will tell.
		}
		line := fmt.Sprintf("%s: %s, %s", st.State, count(st.Sessions, "session"), count(st.Transfers, "transfer"))
		if line != last {
			p.complain(line)
			last = line
		}
	}
}

// attended tells whether somebody may be looking at w.
func attended(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// age is a time that has passed, in its two largest units: "2d 3h", "5m 10s".
func age(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	d = max(d, 0)
	var parts []string
	for _, u := range units {
		n := d / u.size
		d %= u.size
		if n > 0 || len(parts) > 0 || u.size == time.Second {
			parts = append(parts, fmt.Sprintf("%d%s", n, u.name))
		}
		if len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, " ")
}
