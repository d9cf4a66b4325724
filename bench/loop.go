//go:build linux

package main

import (
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// errStopped is what a task's waits return when it is to end.
var errStopped = errors.New("stopped")

// A loop is the whole load: all users and all of the stub server, on one thread
// over one epoll descriptor, so that they cost as little as they can beside the
// proxy. A task is a coroutine; it tries an operation first and waits when the
// kernel has nothing for it, so edges are enough and a descriptor is registered
// once.
//
// A loop and its tasks belong to one goroutine.
type loop struct {
	epoll  int
	owners []*task // who is resumed, by descriptor
	ready  []*task
	spare  []*task
	tasks  map[*task]struct{}
	events [256]unix.EpollEvent

	// quantum is what a task moves on a data connection before it gives way.
	quantum int

	interrupted *atomic.Bool // ends run early
}

func newLoop(interrupted *atomic.Bool) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &loop{epoll: fd, quantum: coarse, tasks: make(map[*task]struct{}), interrupted: interrupted}, nil
}

// close ends every task and the loop.
func (l *loop) close() {
	for t := range l.tasks {
		l.cancel(t)
	}
	unix.Close(l.epoll)
}

// A quantum is a matter of turns: one transfer alone costs least with a coarse
// one, and of hundreds each has its turn soon with a fine one.
const (
	coarse = 1 << 20
	fine   = 128 << 10
)

// A task is a sequence of operations that wait for descriptors.
type task struct {
	loop   *loop
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	queued bool
	done   bool
}

// spawn starts a task at the next turn of the loop.
func (l *loop) spawn(body func(*task)) *task {
	t := &task{loop: l}
	t.resume, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		body(t)
	})
	l.tasks[t] = struct{}{}
	l.wake(t)
	return t
}

// cancel ends a task: its waits return errStopped.
func (l *loop) cancel(t *task) {
	if !t.done {
		t.done = true
		delete(l.tasks, t)
		t.stop()
	}
}

func (l *loop) wake(t *task) {
	if t != nil && !t.queued {
		t.queued = true
		l.ready = append(l.ready, t)
	}
}

// wait gives way until something happens to one of the task's descriptors, or
// somebody wakes it.
func (t *task) wait() error {
	if !t.yield(struct{}{}) {
		return errStopped
	}
	return nil
}

// pause gives way to the other tasks.
func (t *task) pause() error {
	t.loop.wake(t)
	return t.wait()
}

// add has the loop resume t for fd.
func (l *loop) add(fd int, t *task) error {
	l.own(fd, t)
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// own has fd, which was added, resume another task, or none.
func (l *loop) own(fd int, t *task) {
	for fd >= len(l.owners) {
		l.owners = append(l.owners, nil)
	}
	l.owners[fd] = t
}

// drop closes fd.
func (l *loop) drop(fd int) {
	l.own(fd, nil)
	unix.Close(fd)
}

// run turns the loop until a condition holds, and reports whether it came to
// that before limit. The condition is looked at once a turn.
func (l *loop) run(limit time.Duration, until func() bool) bool {
	end := time.Now().Add(limit)
	for {
		batch := l.ready
		l.ready = l.spare[:0]
		for _, t := range batch {
			t.queued = false
			if t.done {
				continue
			}
			if _, more := t.resume(); !more {
				t.done = true
				delete(l.tasks, t)
			}
		}
		l.spare = batch
		if until() {
			return true
		}
		left := time.Until(end)
		if left <= 0 || l.interrupted.Load() {
			return false
		}
		l.poll(left)
	}
}

// poll collects the tasks that something happened to. It waits no longer than
// 20 ms, so that a condition that depends on the clock is seen.
func (l *loop) poll(left time.Duration) {
	timeout := int(min(left, 20*time.Millisecond) / time.Millisecond)
	if len(l.ready) > 0 {
		timeout = 0
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], timeout)
	if err != nil {
		return // EINTR
	}
	for i := range n {
		if fd := int(l.events[i].Fd); fd < len(l.owners) {
			l.wake(l.owners[fd])
		}
	}
}

// sleep turns the loop for a time.
func (l *loop) sleep(d time.Duration) {
	l.run(d, func() bool { return false })
}
