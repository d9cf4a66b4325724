package workers

import (
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

// Any number of tasks run at once, each of them once.
func TestTasksDoNotWaitForEachOther(t *testing.T) {
	defer goleak.VerifyNone(t)
	var p Pool
	defer p.Close()
	for range 3 {
		const n = 10 * idleMost
		var all sync.WaitGroup
		all.Add(n)
		release := make(chan struct{})
		for range n {
			p.Go(func() {
				all.Done()
				<-release
			})
		}
		all.Wait() // All of them run: none waits for the end of another.
		close(release)
	}
}

// Goroutines are kept, but not more than are of use, and none after Close.
func TestGoroutinesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pool
		run := func(n int) {
			var all sync.WaitGroup
			all.Add(n)
			for range n {
				p.Go(func() {
					all.Done()
					all.Wait()
				})
			}
			synctest.Wait()
		}
		idle := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.idle)
		}
		run(3)
		if n := idle(); n != 3 {
			t.Errorf("%d goroutines wait after 3 tasks", n)
		}
		last := p.idle[2]
		p.Go(func() {})
		synctest.Wait()
		if n := idle(); n != 3 || p.idle[2] != last {
			t.Errorf("one more task: %d goroutines wait, the last one the same: %t", n, n == 3 && p.idle[2] == last)
		}
		run(2 * idleMost)
		if n := idle(); n != idleMost {
			t.Errorf("%d goroutines wait, want %d", n, idleMost)
		}
		p.Close()
		p.Close()
		run(3)
		if n := idle(); n != 0 {
			t.Errorf("%d goroutines wait after Close", n)
		}
	}) // synctest fails if a goroutine is left.
}
