package splice

import (
	"sync"
	"sync/atomic"
)

const (
	// bufferLarge is what payload is moved by in user space, and bufferSmall what
	// it is moved by once so many are in use that large ones would take too much
	// memory: a receiver that takes nothing keeps two. A TLS download by 512 KiB
	// takes three quarters of the processor time of one by 128 KiB.
	bufferLarge = 512 << 10
	bufferSmall = 128 << 10
	// mostLarge is how many large ones are in use at most: 64 MiB, as of pipes.
	mostLarge = 128
)

// buffers are those that no copy uses now.
var buffers bufferPool

type bufferPool struct {
	large, small sync.Pool
	used         atomic.Int64 // large ones
}

// get returns a buffer, to be given back with put.
func (p *bufferPool) get() []byte {
	if p.used.Add(1) > mostLarge {
		p.used.Add(-1)
		if b, ok := p.small.Get().(*[bufferSmall]byte); ok {
			return b[:]
		}
		return make([]byte, bufferSmall)
	}
	if b, ok := p.large.Get().(*[bufferLarge]byte); ok {
		return b[:]
	}
	return make([]byte, bufferLarge)
}

func (p *bufferPool) put(b []byte) {
	if len(b) == bufferSmall {
		p.small.Put((*[bufferSmall]byte)(b))
		return
	}
	p.used.Add(-1)
	p.large.Put((*[bufferLarge]byte)(b))
}
