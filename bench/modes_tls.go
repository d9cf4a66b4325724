//go:build linux

package main

import (
	"flag"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// loadMetric is how much of its core the load itself takes, the stub included.
const loadMetric = "% of its core that the load takes"

// ownTime is the CPU time of this process so far.
func ownTime() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// tls measures what TLS costs: with the clients alone, where the server has none,
// and on both sides.
func (b *bench) tls() error {
	for _, way := range []protection{inFront, bothSides} {
		for _, up := range []bool{false, true} {
			name := bulkName(way, up)
			b.say("%s", name)
			want := func(p peer) bool { return p.secures && (way == inFront || p.name != direct) }
			err := b.rounds(name, way, want, func(i *instance) error { return b.bulkRound(name, i, up) })
			if err != nil {
				return err
			}
		}
	}
	if err := b.loginsTLS(); err != nil {
		return err
	}
	for _, way := range []protection{inFront, bothSides} {
		if err := b.idleTLS(way); err != nil {
			return err
		}
	}
	return nil
}

func bulkName(way protection, up bool) string {
	if up {
		return "upload, " + way.String()
	}
	return "download, " + way.String()
}

// usersTLS is how many log in at once.
const usersTLS = 8

func loginName(n int) string { return fmt.Sprintf("logins with TLS, %d clients", n) }

// loginsTLS has users say AUTH TLS, USER, PASS and QUIT. Nothing is resumed.
func (b *bench) loginsTLS() error {
	name := loginName(usersTLS)
	b.say("%s", name)
	return b.rounds(name, inFront, func(p peer) bool { return p.secures }, func(i *instance) error {
		load, began := ownTime(), time.Now()
		d, err := b.drive(i, usersTLS, act{do: (*user).visit}, b.plan.window)
		if err != nil {
			return err
		}
		b.results.add(name, loadMetric, i.name, 100*(ownTime()-load).Seconds()/time.Since(began).Seconds())
		b.results.drive(name, i, d)
		return d.err
	})
}

// idleTLS opens sessions that do nothing, as idle does.
func (b *bench) idleTLS(way protection) error {
	for _, p := range b.peers {
		if !p.secures || b.isAbsent(p, way) || p.name == direct && way == bothSides {
			continue
		}
		name := func(n int) string { return idleNameTLS(n, way) }
		b.say("idle sessions, %v: %s", way, p.name)
		if err := b.idlePeer(p, way, []int{b.plan.idleTLS}, name); err != nil {
			b.problem("idle sessions, %v: %s: %v", way, p.name, err)
		}
		if b.interrupted.Load() {
			return errInterrupted
		}
	}
	return nil
}

func idleNameTLS(n int, way protection) string { return fmt.Sprintf("%s, %v", idleName(n), way) }

// serveStub is the stub as a program.
func serveStub(args []string) error {
	flags := flag.NewFlagSet("stub", flag.ContinueOnError)
	at := flags.String("listen", "", "IPv4 address")
	port := flags.Int("control", 0, "port of the control connections")
	first := flags.Int("first", 0, "first data port")
	cert := &certificate{}
	flags.StringVar(&cert.file, "certificate", "", "file with a certificate and its key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	addr, err := netip.ParseAddr(*at)
	if err != nil {
		return err
	}
	if err := cert.load(); err != nil {
		return err
	}
	raiseLimit()
	l, err := newLoop(new(atomic.Bool))
	if err != nil {
		return err
	}
	p, err := newPayload()
	if err != nil {
		return err
	}
	if _, err := newStub(l, p, cert, addr.As4(), *port, *first); err != nil {
		return err
	}
	l.sleep(math.MaxInt64)
	return nil
}
