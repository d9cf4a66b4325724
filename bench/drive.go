//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"
)

// patience bounds everything that takes a moment on an idle machine. It ends a
// run that hangs; it measures nothing.
const patience = 60 * time.Second

var errInterrupted = errors.New("interrupted")

// A drive is what some users did in a window of time.
type drive struct {
	took   []time.Duration // of each act that ended inside the window
	window time.Duration
	cpu    time.Duration // of the proxy, in the window
	failed int
	err    error // the first failure
}

// An act is what a user does over and over.
type act struct {
	session bool // inside one session; otherwise the act makes its own
	active  bool // PORT instead of PASV
	do      func(*user) error
}

// drive has users repeat an act for a window of time, after a short while that
// does not count.
func (b *bench) drive(i *instance, users int, a act, window time.Duration) (*drive, error) {
	d := &drive{took: make([]time.Duration, 0, 1<<16)}
	var ready, done int
	var counting, ending bool
	fail := func(err error) {
		d.failed++
		if d.err == nil {
			d.err = err
		}
	}
	live := func(u *user) {
		for tries := 0; ; tries++ {
			if !a.session {
				break
			}
			err := u.login()
			if err == nil {
				break
			}
			u.close()
			if errors.Is(err, errStopped) || tries == 3 {
				fail(err)
				ready++
				return
			}
		}
		ready++
		failures := 0
		for !ending && failures < 20 {
			began := time.Now()
			err := a.do(u)
			switch {
			case errors.Is(err, errStopped):
				return
			case err != nil:
				failures++
				if counting || d.err == nil {
					fail(err)
				}
				u.close()
				if a.session && u.login() != nil {
					return
				}
			case counting:
				d.took = append(d.took, time.Since(began))
			}
		}
	}
	tasks := make([]*task, 0, users)
	for range users {
		tasks = append(tasks, b.loop.spawn(func(t *task) {
			u := i.user(t)
			u.active = a.active
			live(u)
			u.close()
			done++
		}))
	}
	if !b.loop.run(patience, func() bool { return ready == users }) {
		fail(fmt.Errorf("%d of %d users are not logged in", users-ready, users))
	}
	b.loop.sleep(window / 10)
	counting = true
	cpu, began := i.cpu(), time.Now()
	b.loop.sleep(window)
	// A window in which the machine did something else says nothing: it is longer then.
	b.loop.run(patience, func() bool { return len(d.took) > 0 || d.failed > 0 })
	d.cpu, d.window = i.cpu()-cpu, time.Since(began)
	counting, ending = false, true
	if !b.loop.run(patience/4, func() bool { return done == users }) {
		fail(fmt.Errorf("%d of %d users do not come to an end", users-done, users))
		for _, t := range tasks {
			b.loop.cancel(t)
		}
	}
	b.settle()
	if b.interrupted.Load() {
		return nil, errInterrupted
	}
	return d, nil
}

// settle waits until the stub has no session, so that one measurement does not
// begin in the remains of another.
func (b *bench) settle() {
	b.loop.run(patience, func() bool { return b.stub.sessions == 0 })
}

// once runs one task to its end.
func (b *bench) once(limit time.Duration, body func(*task) error) error {
	var err error
	done := false
	t := b.loop.spawn(func(t *task) {
		err = body(t)
		done = true
	})
	if !b.loop.run(limit, func() bool { return done }) {
		b.loop.cancel(t)
		if b.interrupted.Load() {
			return errInterrupted
		}
		return fmt.Errorf("not done after %v", limit)
	}
	return err
}

// A crowd is users who are logged in and do nothing until they are told to.
type crowd struct {
	b     *bench
	users []*user
}

// gate is how many users of a crowd do something at a time.
const gate = 16

// gather adds n users to the crowd.
func (c *crowd) gather(i *instance, n int, from func(int) [4]byte) error {
	start := len(c.users)
	for k := range n {
		u := i.user(nil)
		if from != nil {
			u.from = from(k)
		}
		c.users = append(c.users, u)
	}
	return c.each(c.users[start:], (*user).login)
}

// each has users do something, a few at a time, and waits for all.
func (c *crowd) each(users []*user, do func(*user) error) error {
	var failed error
	next, done := 0, 0
	workers := make([]*task, 0, gate)
	for range min(gate, len(users)) {
		workers = append(workers, c.b.loop.spawn(func(t *task) {
			for next < len(users) {
				u := users[next]
				next++
				c.lend(u, t)
				err := do(u)
				c.lend(u, nil)
				if err != nil && failed == nil {
					failed = err
				}
				if errors.Is(err, errStopped) {
					return
				}
				done++
			}
		}))
	}
	if !c.b.loop.run(2*patience, func() bool { return done == len(users) }) {
		for _, t := range workers {
			c.b.loop.cancel(t)
		}
		if c.b.interrupted.Load() {
			return errInterrupted
		}
		if failed == nil || errors.Is(failed, errStopped) {
			failed = fmt.Errorf("%d of %d users are not done", len(users)-done, len(users))
		}
	}
	return failed
}

// lend makes t the task that is resumed for the user.
func (c *crowd) lend(u *user, t *task) {
	u.t = t
	if u.fd >= 0 {
		c.b.loop.own(u.fd, t)
	}
}

// disperse ends all sessions.
func (c *crowd) disperse() {
	for _, u := range c.users {
		if u.fd >= 0 {
			c.b.loop.drop(u.fd)
			u.fd = -1
		}
	}
	c.users = nil
	c.b.settle()
}
