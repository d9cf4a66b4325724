//go:build linux

// Command bench measures ftproxy beside its peers, on this machine, over
// loopback: docs/performance.md tells how to read what it prints. "make bench"
// runs all of it, "make bench-quick" a part.
//
// It imports nothing of ftproxy: it measures the built program.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	plan     plan
	only     []string
	peers    []string
	ftproxy  string
	against  string
	compare  string
	json     string
	svg      string
	unpinned bool
}

func parse(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	isQuick := flags.Bool("quick", false, "a part of it, in about two minutes")
	only := flags.String("only", "", "measure these alone, with commas between: "+modeNames())
	of := flags.String("peers", "", "beside these alone, with commas between: "+peerNames())
	rounds := flags.Int("rounds", 0, "rounds by turns; 0 is what the plan says")
	flags.StringVar(&o.ftproxy, "ftproxy", "", "binary to measure; none builds it from this folder")
	flags.StringVar(&o.against, "against", "", "another ftproxy `binary` to measure beside it")
	flags.StringVar(&o.compare, "compare", "", "the same, built from a `commit`")
	flags.StringVar(&o.json, "json", "", "write all figures to a `file`; - is standard output, and the table goes to standard error")
	flags.StringVar(&o.svg, "svg", "", "draw a chart to a `file`")
	flags.BoolVar(&o.unpinned, "unpinned", false, "pin nobody to a core")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("what is %q?", flags.Arg(0))
	}
	o.plan = full
	if *isQuick {
		o.plan = quick
	}
	if *rounds > 0 {
		o.plan.rounds = *rounds
	}
	var err error
	if o.only, err = choose("only", *only, modeNames()); err != nil {
		return nil, err
	}
	if o.peers, err = choose("peers", *of, peerNames()); err != nil {
		return nil, err
	}
	if o.against != "" && o.compare != "" {
		return nil, errors.New("-against and -compare are two ways to say one thing")
	}
	return o, nil
}

func modeNames() string {
	var names []string
	for _, m := range modes {
		names = append(names, m.name)
	}
	return strings.Join(names, ",")
}

func peerNames() string {
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	return strings.Join(names, ",")
}

// choose splits a list and checks it; none is all.
func choose(flag, list, all string) ([]string, error) {
	if list == "" {
		return strings.Split(all, ","), nil
	}
	chosen := strings.Split(list, ",")
	for _, c := range chosen {
		if !slices.Contains(strings.Split(all, ","), c) {
			return nil, fmt.Errorf("-%s: there is no %q, only %s", flag, c, all)
		}
	}
	return chosen, nil
}

func run(args []string) (err error) {
	if len(args) > 0 {
		switch args[0] {
		case "launch":
			return launch(args[1:])
		case "relay":
			return relay(args[1:])
		case "stub":
			return serveStub(args[1:])
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	out := io.Writer(os.Stdout)
	if o.json == "-" {
		out = os.Stderr
	}
	debug.SetGCPercent(800)
	binaries, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)
	if err := o.build(binaries); err != nil {
		return err
	}
	b, err := newBench(&bench{plan: o.plan, ftproxy: o.ftproxy, against: o.against, part: len(o.only) < len(modes), log: os.Stderr, peers: o.wanted()})
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	defer b.interruptible()()
	if o.compare != "" {
		b.versions[other] += ", built from " + o.compare
	}
	began, busy := time.Now(), cpuTimes()
	if err := b.passes(o); err != nil {
		return err
	}
	m := thisMachine(len(b.cores))
	m.Stolen = cpuTimes().stolenSince(busy)
	b.table(out, m)
	fmt.Fprintf(out, "\n%.0f s\n", time.Since(began).Seconds())
	if o.json != "" {
		err = b.document(m).write(o.json)
	}
	if o.svg != "" {
		err = errors.Join(err, os.WriteFile(o.svg, []byte(b.chart(m)), 0o644))
	}
	return err
}

// build makes the binaries that are not given.
func (o *options) build(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil { // ftproxy runs as another user
		return err
	}
	if o.ftproxy == "" {
		o.ftproxy = filepath.Join(dir, "ftproxy")
		if err := build(".", o.ftproxy); err != nil {
			return err
		}
	}
	if o.compare != "" {
		o.against = filepath.Join(dir, "other")
		return buildCommit(o.compare, dir, o.against)
	}
	return nil
}

func (o *options) wanted() []peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p peer) bool { return !slices.Contains(o.peers, p.name) })
}

// interruptible ends the run, in good order, at a signal or when it has taken far
// too long. The function that it returns ends the watch.
func (b *bench) interruptible() func() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A reader of the table that goes away is no reason to leave proxies behind.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	over := make(chan struct{})
	go func() {
		limit := time.NewTimer(b.plan.limit)
		defer limit.Stop()
		select {
		case <-signals:
		case <-limit.C:
			b.say("no end after %v", b.plan.limit)
		case <-over:
			return
		}
		b.interrupted.Store(true)
	}()
	return func() {
		signal.Stop(signals)
		close(over)
	}
}

// passes measures everything that was asked for, pinned and then not.
func (b *bench) passes(o *options) error {
	if o.unpinned && b.pinned {
		if err := b.unpin(); err != nil {
			return err
		}
	}
	if err := b.pass(o.only, false); err != nil {
		return err
	}
	if !b.plan.unpinned || !b.pinned {
		return nil
	}
	if err := b.unpin(); err != nil {
		return err
	}
	whole := b.plan
	b.plan = whole.loose()
	err := b.pass(o.only, true)
	b.plan = whole
	return err
}

func (b *bench) unpin() error {
	for len(b.running) > 0 {
		b.running[0].stop()
	}
	b.pinned = false
	return pinAll(b.cores...)
}

func (b *bench) pass(only []string, again bool) error {
	for _, m := range modes {
		if !slices.Contains(only, m.name) || again && m.once {
			continue
		}
		if err := m.run(b); err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
	}
	return nil
}
