package splice

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	mostPipe  = 1 << 20  // the default of /proc/sys/fs/pipe-max-size
	leastPipe = 16 << 10 // pipes are not made smaller than that by us
	// pipeBudget is shared by all pipes. An unprivileged user may hold 64 MiB
	// of pipe buffers; beyond that new pipes get 8 KiB. It also bounds what
	// slow receivers can pin in the kernel.
	pipeBudget = 32 << 20
	// mostIdle bounds the descriptors kept for later: two per pipe.
	mostIdle = 32
)

// A pipe holds payload between two splices.
type pipe struct {
	r, w    int
	size    int  // of the kernel's buffer
	data    int  // bytes inside
	refused bool // a change of size was refused to this copy
}

// A pipePool keeps empty pipes for later copies. At most mostIdle of them are
// kept, for as long as the process lives; all others are closed when they come
// back, and so is a pipe that still holds bytes of a failed copy.
type pipePool struct {
	mu   sync.Mutex
	idle []*pipe      // the most recently used last
	open atomic.Int64 // idle or in use

	resize func(fd, size int) (int, error) // F_SETPIPE_SZ
}

var pipes = &pipePool{resize: resizePipe}

func resizePipe(fd, size int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, size)
}

func (pp *pipePool) get() (*pipe, error) {
	pp.mu.Lock()
	if n := len(pp.idle); n > 0 {
		p := pp.idle[n-1]
		pp.idle = pp.idle[:n-1]
		pp.mu.Unlock()
		p.refused = false
		return p, nil
	}
	pp.mu.Unlock()

	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	size, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		size = leastPipe
	}
	pp.open.Add(1)
	return &pipe{r: fds[0], w: fds[1], size: size}, nil
}

// put takes a pipe back, or closes it.
func (pp *pipePool) put(p *pipe) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if p.data == 0 && len(pp.idle) < mostIdle {
		pp.idle = append(pp.idle, p)
		return
	}
	pp.close(p)
}

func (pp *pipePool) close(p *pipe) {
	unix.Close(p.r)
	unix.Close(p.w)
	pp.open.Add(-1)
}

// closeIdle closes the pipes that nobody uses.
func (pp *pipePool) closeIdle() {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	for _, p := range pp.idle {
		pp.close(p)
	}
	pp.idle = nil
}

// fit gives an empty pipe the size that the load asks for, after it was
// filled with so many bytes: the fair part of the budget if it was filled well.
// Bytes do not tell how full it was, as a segment of 1448 bytes takes a page.
func (pp *pipePool) fit(p *pipe, filled int) {
	fair := mostPipe
	for open := pp.open.Load(); fair > leastPipe && int64(fair)*open > pipeBudget; {
		fair /= 2
	}
	if p.refused || p.size == fair || p.size < fair && filled < p.size/4 {
		return
	}
	size, err := pp.resize(p.r, fair)
	if err != nil {
		p.refused = true // EPERM: the user's pipe buffers are used up
		return
	}
	p.size = size
}
