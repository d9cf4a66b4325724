package balance

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Lease is a session's place at a server. It belongs to who picked it, who releases it
// when the session's connection to the server has ended.
type Lease struct {
	Target Target // as it was configured then

	group   *Group
	server  *server
	epoch   int
	settled bool // a verdict was given
	ended   bool
}

// Pick gives a place at a server that is up and was not tried before by the same client:
// tried are the leases that failed. The place counts at once. If all servers are full it
// waits for a place until the context ends.
func (g *Group) Pick(ctx context.Context, key Key, tried ...*Lease) (*Lease, error) {
	var c clock
	g.mu.Lock()
	if g.closed {
		g.unlock()
		return nil, ErrClosed
	}
	s, err := g.choose(key, tried, g.waiters.Len() < g.settings.Queue, &c)
	if err == errWait {
		return g.wait(ctx, key, tried, s, &c) // unlocks
	}
	var l *Lease
	if err == nil {
		l = g.take(s, &c)
	}
	g.unlock()
	return l, err
}

// take has a session begin.
func (g *Group) take(s *server, c *clock) *Lease {
	l := &Lease{Target: s.Target, group: g, server: s, epoch: s.epoch}
	s.sessions++
	if (s.state != Up || s.fails > 0) && g.due(s, c) {
		s.trial = l
	}
	return l
}

// errWait is what choose returns instead of a server.
var errWait = errors.New("balance: wait")

// choose finds a server for a key. queue tells whether it may wait: then the error may be
// errWait, with the one server that it waits for, or nil where any will do.
func (g *Group) choose(key Key, tried []*Lease, queue bool, c *clock) (*server, error) {
	for _, tier := range g.tiers {
		busy := g.sort(tier, tried, c)
		if g.settings.Policy.hashes() {
			if s, err := g.chooseHashed(g.hash(key), queue); s != nil {
				return s, err
			}
		} else if len(g.free) > 0 {
			return g.pick(g.free, c), nil
		} else if len(g.doubted) > 0 {
			return g.pick(g.doubted, c), nil
		}
		switch {
		case busy && queue:
			return nil, errWait
		case busy:
			return nil, ErrFull
		}
	}
	if g.up == 0 {
		return nil, ErrDown
	}
	return nil, ErrTried
}

// sort puts the servers of a tier that were not tried in g.free, g.doubted and, those that
// are not doubted, in g.full. It tells whether any is full.
func (g *Group) sort(tier []*server, tried []*Lease, c *clock) (busy bool) {
	g.free, g.doubted, g.full = g.free[:0], g.doubted[:0], g.full[:0]
	for _, s := range tier {
		if isTried(s, tried) {
			continue
		}
		sound := s.state == Up && s.fails == 0 || s.state != Drain && g.due(s, c)
		switch full := s.isFull(); {
		case s.state != Up && (!sound || full):
		case full:
			busy = true
			if sound {
				g.full = append(g.full, s)
			}
		case sound:
			g.free = append(g.free, s)
		default:
			g.doubted = append(g.doubted, s)
		}
	}
	return busy
}

// chooseHashed gives the server of a key, by what sort found; nil: there is none.
func (g *Group) chooseHashed(key uint64, queue bool) (*server, error) {
	free := preferred(key, g.free)
	if queue && len(g.full) > 0 {
		full := preferred(key, g.full)
		if free == nil {
			return full, errWait
		}
		if pair := [2]*server{free, full}; preferred(key, pair[:]) == full {
			return full, errWait
		}
	}
	if free == nil {
		free = preferred(key, g.doubted)
	}
	return free, nil
}

func isTried(s *server, tried []*Lease) bool {
	for _, l := range tried {
		if l.server == s {
			return true
		}
	}
	return false
}

// Greeted says that the server is ready for the session: it has sent its greeting, and
// speaks TLS where it should. took is the time to the greeting.
func (l *Lease) Greeted(took time.Duration) {
	g, s := l.group, l.server
	g.mu.Lock()
	defer g.unlock()
	if l.settled || l.ended {
		return
	}
	l.settled = true
	l.endTrial()
	g.changed = g.changed || s.fails > 0 // It is not doubted any more.
	s.fails, s.unseen, s.greeting = 0, false, took
	if !s.well && !g.settings.asks(checks) {
		g.heal(s, BySession, "a session got its greeting")
	}
}

// Failed says that the server was not ready for the session, and releases the lease. kind
// is one of a few words, by which failures are counted. It is not for a session that gave
// up by itself: that one only releases.
func (l *Lease) Failed(kind string, err error) {
	g, s := l.group, l.server
	g.mu.Lock()
	defer g.unlock()
	if l.settled || l.ended {
		return
	}
	l.settled = true
	if s.failures == nil {
		s.failures = make(map[string]uint64)
	}
	s.failures[kind]++
	if l.epoch == s.epoch {
		g.failed(s, s.trial == l, fmt.Sprintf("%s: %v", kind, err))
	}
	l.release()
}

// failed counts a failure of a session.
func (g *Group) failed(s *server, trial bool, why string) {
	s.fails++
	g.changed = true // It is doubted, or down.
	switch {
	case s.well && s.fails >= g.settings.Fall:
		g.sicken(s, BySession, why)
	case s.well:
		s.failed = time.Now()
	case trial:
		s.failed, s.pause = time.Now(), min(2*s.pause, mostPause)
	}
}

// Release gives the place back. Without a verdict before, it leaves the server's health as
// it was. Safe to repeat.
func (l *Lease) Release() {
	l.group.mu.Lock()
	l.release()
	l.group.unlock()
}

func (l *Lease) release() {
	if l.ended {
		return
	}
	l.ended = true
	l.endTrial()
	g, s := l.group, l.server
	s.sessions--
	if s.gone && s.sessions == 0 {
		delete(g.known, s.id())
	}
	if s.state != Up {
		g.changed = true // Nobody waits for it, but one who waits for another may try it.
	}
	if !g.changed && g.waiters.Len() > 0 {
		g.serve(s)
	}
}

// endTrial lets another pick try the server.
func (l *Lease) endTrial() {
	if l.server.trial == l {
		l.server.trial = nil
		l.group.changed = true
	}
}
