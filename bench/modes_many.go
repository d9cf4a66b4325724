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

// portsMode is what is recorded of ten passive ports.
const portsMode = "10 passive ports"

// ports asks for more data connections than there are ports.
func (b *bench) ports() error {
	for _, p := range b.peers {
		if b.absent[p.name] || !b.essential(p) {
			continue
		}
		b.say("%s: %s", portsMode, p.name)
		if !p.ftp || p.command == nil {
			b.stub.confine(10)
		}
		err := b.portsPeer(p)
		b.stub.confine(stubPorts)
		if err != nil {
			b.problem("%s: %s: %v", portsMode, p.name, err)
		}
		if b.interrupted.Load() {
			return errInterrupted
		}
	}
	return nil
}

func (b *bench) portsPeer(p peer) error {
	i, err := b.start(p, inClear, 10)
	if err != nil {
		return err
	}
	defer i.stop()
	var sum tally
	err = b.portsOne(i, &sum)
	if err == nil {
		err = b.portsTwenty(i, &sum)
	}
	b.results.add(portsMode, "outside", i.name, float64(sum.outside))
	b.results.add(portsMode, "failed", i.name, float64(sum.failed))
	return err
}

// A tally is what went wrong in both tests of a peer's ports: ports outside the
// range, and transfers that failed although they had a port.
type tally struct{ outside, failed int }

// A claim is what users were told when they asked for ports.
type claim struct {
	ports   map[*user]int
	outside int
}

// ask has each user send PASV. It counts, and fails for nobody's refusal.
func (b *bench) ask(c *crowd, i *instance, users []*user) (claim, error) {
	got := claim{ports: make(map[*user]int)}
	err := c.each(users, func(u *user) error {
		port, err := u.passive()
		switch {
		case errors.Is(err, errStopped):
			return err
		case err != nil:
			return nil
		case port < i.first || port > i.last:
			got.outside++
		}
		got.ports[u] = port
		return nil
	})
	return got, err
}

// take has each user use the port that it was told.
func (b *bench) take(c *crowd, got claim, users []*user) (failed int, err error) {
	err = c.each(users, func(u *user) error {
		err := u.use(got.ports[u])
		if err != nil && !errors.Is(err, errStopped) {
			failed++
			return nil
		}
		return err
	})
	return failed, err
}

// use transfers 1 KiB through a port.
func (u *user) use(port int) error {
	data, err := u.connect(port)
	if err != nil {
		return err
	}
	if err := u.write(fmt.Appendf(nil, "RETR %d\r\n", smallSize)); err != nil {
		u.t.loop.drop(data)
		return err
	}
	return u.move(data, smallSize, false)
}

// portsOne has eleven sessions of one address ask for a port each.
func (b *bench) portsOne(i *instance, sum *tally) error {
	c := &crowd{b: b}
	defer c.disperse()
	if err := c.gather(i, 11, func(int) [4]byte { return [4]byte{127, 0, 3, 1} }); err != nil {
		return err
	}
	// One after another, so that only the last finds none.
	got, err := b.ask(c, i, c.users[:1])
	if err != nil {
		return err
	}
	for _, u := range c.users[1:10] {
		next, err := b.ask(c, i, []*user{u})
		if err != nil {
			return err
		}
		got.outside += next.outside
		for u, port := range next.ports {
			got.ports[u] = port
		}
	}
	pending := make(map[int]bool)
	for _, port := range got.ports {
		pending[port] = true
	}
	b.results.add(portsMode, "pending, 1 address", i.name, float64(len(pending)))
	// The eleventh waits, until the first uses its port.
	last := c.users[10]
	answered := false
	var port int
	var refused error
	t := b.loop.spawn(func(t *task) {
		c.lend(last, t)
		port, refused = last.passive()
		answered = true
		c.lend(last, nil)
	})
	early := b.loop.run(time.Second, func() bool { return answered })
	failed, err := b.take(c, got, c.users[:1])
	if err != nil {
		b.loop.cancel(t)
		return err
	}
	if !b.loop.run(patience, func() bool { return answered }) {
		b.loop.cancel(t)
		return errors.New("the eleventh gets no answer")
	}
	waited := 0.0
	if !early && refused == nil {
		waited = 1
	}
	b.results.add(portsMode, "the next waits its turn", i.name, waited)
	if refused == nil {
		got.ports[last] = port
		if port < i.first || port > i.last {
			got.outside++
		}
	}
	var rest []*user
	for _, u := range c.users[1:] {
		if got.ports[u] != 0 {
			rest = append(rest, u)
		}
	}
	more, err := b.take(c, got, rest)
	sum.outside += got.outside
	sum.failed += failed + more
	return err
}

// portsTwenty has ten sessions of each of twenty addresses ask for a port.
func (b *bench) portsTwenty(i *instance, sum *tally) error {
	c := &crowd{b: b}
	defer c.disperse()
	if err := c.gather(i, 200, func(k int) [4]byte { return [4]byte{127, 0, 3, byte(1 + k%20)} }); err != nil {
		return err
	}
	got, err := b.ask(c, i, c.users)
	if err != nil {
		return err
	}
	var holders []*user
	for _, u := range c.users {
		if got.ports[u] != 0 {
			holders = append(holders, u)
		}
	}
	failed, err := b.take(c, got, holders)
	if err != nil {
		return err
	}
	b.results.add(portsMode, "pending, 20 addresses", i.name, float64(len(holders)))
	sum.outside += got.outside
	sum.failed += failed
	return nil
}

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
