// Package workers runs short tasks on goroutines that it keeps. A new goroutine
// begins with a stack of 2 KiB, and each time it outgrows one, all of it is
// copied: dialling, listening and joining go so deep that this was a tenth of what
// a small transfer costs. A kept goroutine has its stack already.
package workers

import "sync"

// idleMost is how many goroutines wait for a task.
const idleMost = 32

// A Pool runs tasks. Its methods may be called at the same time.
type Pool struct {
	mu     sync.Mutex
	idle   []chan func() // of the goroutines that wait; the last one's stack is the warmest
	closed bool
}

// Go runs task at once, as the go statement does: it never waits for another
// one. Whoever must know when it has ended sees to that himself.
func (p *Pool) Go(task func()) {
	p.mu.Lock()
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		go p.work(task)
		return
	}
	next := p.idle[n-1]
	p.idle = p.idle[:n-1]
	p.mu.Unlock()
	next <- task
}

// work runs a task and then those that come.
func (p *Pool) work(task func()) {
	next := make(chan func(), 1)
	for ok := true; ok; task, ok = <-next {
		task()
		if !p.wait(next) {
			return
		}
	}
}

// wait puts a goroutine among those that wait, if it is needed there.
func (p *Pool) wait(next chan func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) == idleMost {
		return false
	}
	p.idle = append(p.idle, next)
	return true
}

// Close ends the goroutines that wait, and keeps no others: tasks that run end by
// themselves, and Go still works. Safe to repeat.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, next := range p.idle {
		close(next)
	}
	p.idle = nil
}
