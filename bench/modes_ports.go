//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"
)

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
