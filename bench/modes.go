//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// A mode is one thing that is measured.
type mode struct {
	name string
	what string
	run  func(*bench) error
	once bool // not in the second, unpinned pass
}

var modes = []mode{
	{name: "bulk", what: "throughput of one transfer, download and upload", run: (*bench).bulk},
	{name: "small", what: "transfers of 1 KiB", run: (*bench).small},
	{name: "login", what: "sessions of login and QUIT", run: (*bench).logins},
	{name: "noop", what: "the time of a NOOP", run: (*bench).noops},
	{name: "idle", what: "memory of idle sessions", run: (*bench).idle, once: true},
	{name: "ports", what: "ten passive ports", run: (*bench).ports, once: true},
	{name: "fair", what: "many transfers at once", run: (*bench).fair, once: true},
	{name: "start", what: "time from start to greeting", run: (*bench).startup, once: true},
	{name: "tls", what: "transfers, logins and idle sessions with TLS", run: (*bench).tls, once: true},
}

// smallSize is a small transfer.
const smallSize = 1024

// label marks what is measured without pinning.
func (b *bench) label(format string, args ...any) string {
	name := fmt.Sprintf(format, args...)
	if !b.pinned {
		name += ", unpinned"
	}
	return name
}

// instances runs each peer once for many measurements.
func (b *bench) instances(way protection, want func(peer) bool) (all []*instance) {
	for _, p := range b.peers {
		if b.isAbsent(p, way) || !want(p) {
			continue
		}
		at := slices.IndexFunc(b.running, func(i *instance) bool { return i.name == p.name && i.way == way })
		if at >= 0 {
			select {
			case <-b.running[at].ended:
				b.problem("%s has ended; started again", p.name)
				b.running[at].stop()
			default:
				all = append(all, b.running[at])
				continue
			}
		}
		i, err := b.start(p, way, stubPorts)
		if err != nil {
			b.problem("%v", err)
			b.absent[p.name+way.String()] = true
			b.versions[p.name] += " (does not run here)"
			continue
		}
		all = append(all, i)
	}
	return all
}

// isAbsent tells whether a peer cannot be measured.
func (b *bench) isAbsent(p peer, way protection) bool {
	return b.absent[p.name] || b.absent[p.name+way.String()]
}

// rounds measures all peers by turns, so that what the machine does meanwhile
// happens to all of them.
func (b *bench) rounds(mode string, way protection, want func(peer) bool, measure func(*instance) error) error {
	for range b.plan.rounds {
		for _, i := range b.instances(way, want) {
			if err := measure(i); err != nil {
				b.problem("%s: %s: %v", mode, i.name, err)
			}
			if b.interrupted.Load() {
				return errInterrupted
			}
		}
	}
	return nil
}

func everyone(peer) bool { return true }

// essential are the peers of a shorter run: those that a bar is about.
func (b *bench) essential(p peer) bool {
	return !b.plan.some || p.name == ours || p.name == other || p.name == floor || p.name == direct
}

func (b *bench) bulk() error {
	for _, up := range []bool{false, true} {
		name := b.label("download")
		if up {
			name = b.label("upload")
		}
		b.say("%s", name)
		err := b.rounds(name, inClear, everyone, func(i *instance) error { return b.bulkRound(name, i, up) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) bulkRound(name string, i *instance, up bool) error {
	size := b.plan.bulk
	if i.way != inClear {
		size = b.plan.bulkTLS
	}
	defer b.settle()
	return b.once(patience, func(t *task) error {
		u := i.user(t)
		defer u.close()
		if err := u.login(); err != nil {
			return err
		}
		if i.way != inClear {
			if err := u.protect(); err != nil {
				return err
			}
		}
		load := ownTime()
		cpu, began := i.cpu(), time.Now()
		move := u.download
		if up {
			move = u.upload
		}
		if err := move(size); err != nil {
			return err
		}
		took := time.Since(began)
		load = ownTime() - load
		if err := u.quit(); err != nil {
			return err
		}
		// By now a process that served this transfer has been accounted for.
		b.results.add(name, "MB/s", i.name, float64(size)/1e6/took.Seconds())
		if i.group != nil {
			b.results.add(name, "CPU s/GB", i.name, (i.cpu()-cpu).Seconds()/(float64(size)/1e9))
		}
		if i.way != inClear { // the load works, too: it must not be what limits
			b.results.add(name, loadMetric, i.name, 100*load.Seconds()/took.Seconds())
		}
		return nil
	})
}

func (b *bench) small() error {
	for _, n := range b.plan.small {
		if err := b.smallRounds(n, false); err != nil {
			return err
		}
	}
	for _, n := range b.plan.active {
		if err := b.smallRounds(n, true); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) smallRounds(users int, active bool) error {
	name := b.label("1 KiB, %d %s", users, plural("client", users))
	want := everyone
	if active {
		name = b.label("1 KiB, %d %s, active", users, plural("client", users))
		want = func(p peer) bool { return p.ftp }
	}
	b.say("%s", name)
	return b.rounds(name, inClear, want, func(i *instance) error {
		d, err := b.drive(i, users, act{session: true, active: active, do: func(u *user) error { return u.download(smallSize) }}, b.plan.window)
		if err != nil {
			return err
		}
		b.results.drive(name, i, d)
		return d.err
	})
}

func (b *bench) logins() error {
	for _, n := range b.plan.logins {
		name := b.label("logins, %d %s", n, plural("client", n))
		b.say("%s", name)
		err := b.rounds(name, inClear, everyone, func(i *instance) error {
			d, err := b.drive(i, n, act{do: (*user).visit}, b.plan.window)
			if err != nil {
				return err
			}
			b.results.drive(name, i, d)
			return d.err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) noops() error {
	name := b.label("NOOP")
	b.say("%s", name)
	return b.rounds(name, inClear, everyone, func(i *instance) error {
		d, err := b.drive(i, 1, act{session: true, do: (*user).noop}, b.plan.noop)
		if err != nil {
			return err
		}
		slices.Sort(d.took)
		b.results.add(name, "µs", i.name, micros(percentile(d.took, 50)))
		b.results.add(name, "p99 µs", i.name, micros(percentile(d.took, 99)))
		return d.err
	})
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
