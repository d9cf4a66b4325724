//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// idle opens sessions and reads what they cost while nothing happens.
func (b *bench) idle() error {
	for _, p := range b.peers {
		if p.command == nil || b.absent[p.name] {
			continue
		}
		b.say("idle sessions: %s", p.name)
		if err := b.idlePeer(p, inClear, b.plan.idle, idleName); err != nil {
			b.problem("idle sessions: %s: %v", p.name, err)
		}
		if b.interrupted.Load() {
			return errInterrupted
		}
	}
	return nil
}

func (b *bench) idlePeer(p peer, way protection, counts []int, naming func(int) string) error {
	i, err := b.start(p, way, stubPorts)
	if err != nil {
		return err
	}
	defer i.stop()
	c := &crowd{b: b}
	defer c.disperse()
	b.loop.sleep(b.plan.rest / 2)
	charged, chargedErr := i.group.bytes()
	pss, err := i.group.pss()
	if err != nil {
		return err
	}
	for _, n := range counts {
		n = min(n, p.sessions, b.most())
		more := n - len(c.users)
		if more <= 0 {
			break
		}
		name := naming(n)
		cpu := i.cpu()
		if err := c.gather(i, more, nil); err != nil {
			return err
		}
		b.results.add(name, "CPU µs each to open", p.name, micros(i.cpu()-cpu)/float64(more))
		b.loop.sleep(b.plan.rest)
		if chargedErr == nil {
			now, err := i.group.bytes()
			if err != nil {
				return err
			}
			b.results.add(name, "KiB each, kernel included", p.name, float64(now-charged)/1024/float64(n))
		}
		now, err := i.group.pss()
		if err != nil {
			return err
		}
		b.results.add(name, "KiB each, PSS", p.name, float64(now-pss)/1024/float64(n))
		var took []time.Duration
		err = c.each(c.users[:1], func(u *user) error {
			for range 200 {
				began := time.Now()
				if err := u.noop(); err != nil {
					return err
				}
				took = append(took, time.Since(began))
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.Sort(took)
		b.results.add(name, "µs of a NOOP", p.name, micros(percentile(took, 50)))
	}
	if errors.Is(chargedErr, errNoGroup) {
		return chargedErr
	}
	return nil
}

func idleName(n int) string { return fmt.Sprintf("%d idle sessions", n) }

// fair runs many downloads at once and looks at the smallest share.
func (b *bench) fair() error {
	for _, i := range b.instances(inClear, func(p peer) bool { return b.essential(p) && p.sessions >= b.plan.fair }) {
		name := fairName(b.plan.fair)
		b.say("%s: %s", name, i.name)
		if err := b.fairPeer(name, i); err != nil {
			b.problem("%s: %s: %v", name, i.name, err)
		}
		if b.interrupted.Load() {
			return errInterrupted
		}
	}
	return nil
}

func fairName(n int) string { return fmt.Sprintf("%d transfers at once", n) }

func (b *bench) fairPeer(name string, i *instance) error {
	c := &crowd{b: b}
	defer c.disperse()
	if err := c.gather(i, b.plan.fair, nil); err != nil {
		return err
	}
	ended := 0
	var failed error
	var tasks []*task
	defer func() {
		for _, t := range tasks {
			b.loop.cancel(t)
		}
	}()
	b.loop.quantum = fine
	defer func() { b.loop.quantum = coarse }()
	opened := time.Now()
	for _, u := range c.users {
		t := b.loop.spawn(func(t *task) {
			c.lend(u, t)
			if err := u.download(math.MaxInt64); !errors.Is(err, errStopped) {
				ended++
				failed = err
			}
		})
		tasks = append(tasks, t)
		// A few at a time, as users come.
		if len(tasks)%gate == 0 {
			b.loop.run(2*patience-time.Since(opened), func() bool { return u.moved > 0 || ended > 0 })
		}
	}
	still := func(u *user) bool { return u.moved == 0 }
	if !b.loop.run(2*patience-time.Since(opened), func() bool { return ended > 0 || !slices.ContainsFunc(c.users, still) }) || ended > 0 {
		b.results.add(name, "smallest share", i.name, 0)
		return fmt.Errorf("not all transfers have begun after %.0f s (%v)", time.Since(opened).Seconds(), failed)
	}
	b.results.add(name, "s until all have begun", i.name, time.Since(opened).Seconds())
	before := make([]int64, len(c.users))
	for k, u := range c.users {
		before[k] = u.moved
	}
	cpu, began := i.cpu(), time.Now()
	b.loop.sleep(b.plan.even)
	used, took := i.cpu()-cpu, time.Since(began)
	total, least := int64(0), int64(math.MaxInt64)
	for k, u := range c.users {
		moved := u.moved - before[k]
		total += moved
		least = min(least, moved)
	}
	if ended > 0 {
		return fmt.Errorf("%d transfers have ended: %v", ended, failed)
	}
	b.results.add(name, "MB/s", i.name, float64(total)/1e6/took.Seconds())
	if i.group != nil && total > 0 {
		b.results.add(name, "CPU s/GB", i.name, used.Seconds()/(float64(total)/1e9))
	}
	if total > 0 {
		b.results.add(name, "smallest share", i.name, float64(least)*float64(len(c.users))/float64(total))
	}
	return nil
}

// startMode is the time from start to greeting.
const startMode = "start to greeting"

func (b *bench) startup() error {
	b.say("%s", startMode)
	for range b.plan.starts {
		for _, p := range b.peers {
			if b.absent[p.name] || p.name != ours && p.name != other {
				continue
			}
			took, err := b.startPeer(p)
			if err != nil {
				b.problem("%s: %s: %v", startMode, p.name, err)
			} else {
				b.results.add(startMode, "ms", p.name, took.Seconds()*1e3)
			}
			if b.interrupted.Load() {
				return errInterrupted
			}
		}
	}
	return nil
}

// startPeer runs a program without launch, which takes a while of its own.
func (b *bench) startPeer(p peer) (time.Duration, error) {
	b.started++
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", p.name, b.started))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	to := unix.SockaddrInet4{Addr: [4]byte{127, 0, 4, 1}, Port: b.stub.port + 2 + b.started%50}
	command, err := p.command(b, settings{
		addr: dotted(to.Addr), port: to.Port, first: b.stub.first, last: b.stub.first + 99, inside: b.stub.port + 100,
		server: stubAddr, serverPort: b.stub.port,
	}, dir)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := b.startOnCore(cmd); err != nil {
		return 0, err
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	for {
		err := b.once(patience, func(t *task) error {
			u := newUser(t, to, [4]byte{}, b.payload)
			defer u.close()
			fd, err := t.dial(u.from, &u.to)
			if err != nil {
				return err
			}
			u.fd = fd
			return u.expect(220)
		})
		took := time.Since(began)
		if err == nil || took > starting {
			return took, err
		}
		b.loop.sleep(200 * time.Microsecond)
		if b.interrupted.Load() {
			return 0, errInterrupted
		}
	}
}

// startOnCore starts a command on the proxy's core: a process inherits it from
// the thread that makes it.
func (b *bench) startOnCore(cmd *exec.Cmd) error {
	if !b.pinned {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pin(0, b.cores[0]); err != nil {
		return err
	}
	err := cmd.Start()
	return errors.Join(err, pin(0, b.cores[1]))
}
