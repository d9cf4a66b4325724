package splice

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// withPipes runs a test with a pool of its own, whose pipes get what resize
// gives them.
func withPipes(t *testing.T, resize func(fd, size int) (int, error)) *pipePool {
	t.Helper()
	before := pipes
	pipes = &pipePool{resize: resize}
	t.Cleanup(func() {
		pipes.closeIdle()
		if n := pipes.open.Load(); n != 0 {
			t.Errorf("%d pipes are left open", n)
		}
		pipes = before
	})
	return pipes
}

func TestResizeRefused(t *testing.T) {
	var asked int
	withPipes(t, func(_, _ int) (int, error) {
		asked++
		return 0, unix.EPERM
	})
	join(t, Options{}, 0).transfer(random(5 << 20))
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}

// An unprivileged user beyond his 64 MiB of pipe buffers gets pipes like this.
func TestTinyPipe(t *testing.T) {
	pool := withPipes(t, func(_, _ int) (int, error) { return 0, unix.EPERM })
	p, err := pool.get()
	if err != nil {
		t.Fatal(err)
	}
	if p.size, err = resizePipe(p.r, 4096); err != nil {
		t.Fatal(err)
	}
	pool.put(p)
	join(t, Options{}, 0).transfer(random(1 << 20))
}

func TestPipesGrowAndShrink(t *testing.T) {
	pool := withPipes(t, resizePipe)
	p, err := pool.get()
	if err != nil {
		t.Fatal(err)
	}
	defer pool.put(p)
	for _, step := range []struct{ open, filled, want int }{
		{1, 1 << 10, 64 << 10}, // little to carry
		{1, 64 << 10, mostPipe},
		{64, 1, 512 << 10},
		{1000, 1, 32 << 10},
		{1 << 20, 1, leastPipe},
		{1 << 20, 1 << 20, leastPipe},
		{2, leastPipe, mostPipe},
	} {
		pool.open.Store(int64(step.open))
		pool.fit(p, step.filled)
		size, err := unix.FcntlInt(uintptr(p.r), unix.F_GETPIPE_SZ, 0)
		if err != nil || p.size != step.want || size != p.size {
			t.Errorf("%d open, filled with %d: %d bytes (%d, %v); want %d", step.open, step.filled, p.size, size, err, step.want)
		}
	}
	pool.open.Store(1)
}

func TestPoolKeepsOnlyEmptyPipes(t *testing.T) {
	pool := withPipes(t, resizePipe)
	var held []*pipe
	for range mostIdle + 3 {
		p, err := pool.get()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, p)
	}
	held[0].data = 1
	for _, p := range held {
		pool.put(p)
	}
	if len(pool.idle) != mostIdle || pool.open.Load() != mostIdle {
		t.Errorf("%d idle, %d open; want %d", len(pool.idle), pool.open.Load(), mostIdle)
	}
	for _, p := range pool.idle {
		if p == held[0] {
			t.Error("a pipe with bytes inside was kept")
		}
	}
}

// A copy that fails with bytes in its pipe must not leave them to the next one.
func TestFailedCopyLeavesNoBytes(t *testing.T) {
	pool := withPipes(t, resizePipe)
	j := join(t, Options{}, smallBuffer)
	j.send(make([]byte, 32<<20))
	j.mustBlock()
	j.cancel(errCancel)
	j.mustFail(None, errCancel)
	if n := pool.open.Load(); n != 0 {
		t.Errorf("%d pipes are open", n)
	}
	join(t, Options{}, 0).transfer(random(1 << 20))
}

// Without descriptors for a pipe the payload is copied.
func TestNoPipe(t *testing.T) {
	j := prepare(t, Options{}, 0)
	pipes.closeIdle()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	less := old
	less.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &less); err != nil {
		t.Fatal(err)
	}
	j.run()
	payload := random(1 << 20)
	j.sendAll(payload)
	got := len(mustEnd(t, j.taker))
	r := j.result()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if r.Err != nil || got != len(payload) || j.Spliced() != 0 {
		t.Errorf("%d bytes arrived, %d spliced, %+v", got, j.Spliced(), r)
	}
	j.taker.Close()
	j.Finish(context.Background(), patience)
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Neither success nor any failure leaves a descriptor, beside the idle pipes.
func TestDescriptors(t *testing.T) {
	withPipes(t, resizePipe)
	one := func(end func(*joint)) {
		j := join(t, Options{}, smallBuffer)
		end(j)
		j.sender.Close()
		j.taker.Close()
	}
	one(func(j *joint) { j.transfer(random(100)) })
	pipes.closeIdle()
	before := descriptors(t)
	for range 20 {
		one(func(j *joint) { j.transfer(random(100 << 10)) })
		one(func(j *joint) { reset(t, j.sender); j.mustFail(Source, ErrReset) })
		one(func(j *joint) { reset(t, j.taker); j.mustFail(Destination, ErrReset) })
		one(func(j *joint) {
			j.send(make([]byte, 16<<20))
			j.mustBlock()
			j.cancel(errCancel)
			j.mustFail(None, errCancel)
		})
	}
	pipes.closeIdle()
	eventually(t, "no more descriptors than before", func() bool { return descriptors(t) <= before })
}

func TestManyAtOnce(t *testing.T) {
	const n = 100
	payload := random(300 << 10)
	var joints []*joint
	for range n {
		joints = append(joints, join(t, Options{Stall: never}, 0))
	}
	arrived := make(chan error, n)
	for i, j := range joints {
		size := len(payload) - i
		go j.sendQuietly(payload[:size])
		go func() { arrived <- j.take(size) }()
	}
	for range n {
		if err := <-arrived; err != nil {
			t.Error(err)
		}
	}
	for i, j := range joints {
		j.mustSucceed(len(payload) - i)
		j.Finish(context.Background(), patience)
	}
}

func (j *joint) sendQuietly(b []byte) {
	j.sender.Write(b)
	j.sender.CloseWrite()
}

var errShort = errors.New("not as many bytes as were sent")

// take reads to the EOF and closes.
func (j *joint) take(size int) error {
	n, err := j.taker.WriteTo(discarding{})
	j.taker.Close()
	if err == nil && n != int64(size) {
		err = errShort
	}
	return err
}

type discarding struct{}

func (discarding) Write(p []byte) (int, error) { return len(p), nil }
