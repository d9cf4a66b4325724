package portpool

import (
	"context"
	"time"
)

// A Pair is the ports of one data connection whose two sides may both connect to us. Either may
// be nil.
type Pair struct{ Public, Inside *Lease }

// Close gives both back.
func (p Pair) Close() {
	for _, lease := range []*Lease{p.Public, p.Inside} {
		if lease != nil {
			_ = lease.Close()
		}
	}
}

// LeasePair takes the ports that are asked for, after a pause: both or, on an error, none. The
// inside one comes first, since it may be held for as long as another transfer lasts.
func (p *Pool) LeasePair(ctx context.Context, pause time.Duration, public, inside *Request) (pair Pair, err error) {
	if pause > 0 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	if inside != nil {
		pair.Inside, err = p.Lease(ctx, *inside)
	}
	if public != nil && err == nil {
		pair.Public, err = p.Lease(ctx, *public)
	}
	if err != nil {
		pair.Close()
		return Pair{}, err
	}
	return pair, nil
}
