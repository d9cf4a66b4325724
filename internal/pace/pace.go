// Package pace shares bandwidth between transfers.
//
// A [Share] is one limit in bytes per second, of a frontend, a backend or a
// session, in one direction. A transfer joins any number of them and is told
// its rate. It moves no bytes and delays none: the kernel does, by the rate that
// it was told (SO_MAX_PACING_RATE), so a limit costs no copy.
//
// # Who gets what
//
// The rates are max-min fair: of k transfers in a share each gets limit/k, and
// what one of them cannot use, because another share, its peer or its disk is
// slower, goes to the others. What a transfer uses is measured every half
// second. One that uses nearly all it was given is hungry and takes part in the
// division; another keeps what it uses, and some room above it, by which it
// shows that it could use more.
//
// # How a limit is kept
//
// The kernel does not pace the first ten segments of a connection, rates overlap
// for a moment whenever they change, and the room above what slow transfers use is
// given out twice. So each share keeps account: what was moved beyond the limit
// is its debt. A debt lowers the rates until it is repaid, and keeps the next
// transfer waiting, without which the limit would mean nothing to a thousand small
// files. What was not used is not saved up; but where transfers want more and a busy
// machine sends late, a small credit raises the rates a little.
package pace

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// interval is how often what transfers move is looked at.
	interval = 500 * time.Millisecond
	// advance is what a transfer is expected to send at once, paced or not:
	// the initial window of RFC 6928 with the segments of Ethernet.
	advance = 10 * 1448
	// patience is the debt, in time at the limit, with which a transfer may
	// begin.
	patience = 250 * time.Millisecond
	// mostWait is how long debts may delay a transfer: peers give up in the
	// end.
	mostWait = 10 * time.Second
	// leastWait is the pause before a debt is looked at again.
	leastWait = 5 * time.Millisecond
)

// A Transfer is what a [Set] measures and steers. Its methods are called with the
// set locked: they must return soon and not call the set.
type Transfer interface {
	// Acked returns the payload bytes that have reached the receiver's
	// kernel. It never decreases and may be called after the end.
	Acked() int64
	// Packet returns the size of the pieces, in bytes, in which what moves
	// slowly is acknowledged.
	Packet() int
	// SetRate sets the most that may be sent, in bytes per second; 0 is no
	// limit, which is also how a transfer begins.
	SetRate(bytesPerSecond int64) error
}

// A Set is all the bandwidth of a process that is shared. The zero value is ready.
// It holds a timer while there are transfers with a limit, and never a goroutine.
type Set struct {
	mu      sync.Mutex
	named   map[string]*Share
	members []*member
	timer   *time.Timer // of tick
	ticking bool        // the timer is pending, or tick is about to lock
}

// A Share is one limit, shared by the transfers that joined it.
type Share struct {
	set     *Set
	limit   float64 // bytes per second; 0 is none
	members []*member
	account
	division
}

// A member is a transfer in its shares.
type member struct {
	transfer Transfer
	shares   []*Share
	limited  bool  // at least one of its shares has a limit; the rest counts only then
	rate     int64 // last told; 0 is none, -1 that it must be told
	err      error // of the last SetRate
	usage
	portion
}

// Share returns the share with this name, which has no limit until SetLimits gives
// it one. The same name is the same share for the life of the set.
func (s *Set) Share(name string) *Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.share(name)
}

func (s *Set) share(name string) *Share {
	h, ok := s.named[name]
	if !ok {
		if s.named == nil {
			s.named = make(map[string]*Share)
		}
		h = &Share{set: s}
		s.named[name] = h
	}
	return h
}

// NewShare returns a share without a name, such as a session's, of so many
// bytes per second; 0 is no limit. It needs no closing.
func (s *Set) NewShare(bytesPerSecond int64) *Share {
	return &Share{set: s, limit: float64(max(bytesPerSecond, 0))}
}

// SetLimits gives the named shares their limits in bytes per second, and those not
// named none. Running transfers feel it at once; one whose SetRate fails then
// goes on as it was.
func (s *Set) SetLimits(limits map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.measure(now)
	for name := range limits {
		s.share(name)
	}
	for name, h := range s.named {
		if limit := float64(max(limits[name], 0)); limit != h.limit {
			h.limit = limit
			h.restart(now)
		}
	}
	s.divide(now)
}

// Join gives a transfer its part of the shares; nil stands for no share. It waits
// while one of them is in debt, some seconds at most, and sets the transfer's
// rate before it returns. leave is never nil. It must be called when the transfer
// has ended; calls after the first do nothing.
//
// The error is the cause of ctx, or what SetRate returned. The transfer then is not
// part of the shares, and what it moves is not counted.
func (s *Set) Join(ctx context.Context, t Transfer, shares ...*Share) (leave func(), err error) {
	m := &member{transfer: t}
	for _, h := range shares {
		if h != nil && !slices.Contains(m.shares, h) {
			m.shares = append(m.shares, h)
		}
	}
	if len(m.shares) == 0 {
		return func() {}, nil
	}
	var timer *time.Timer
	began := time.Now()
	for {
		wait, err := s.tryJoin(m, began)
		if err != nil {
			return func() {}, err
		}
		if wait == 0 {
			return sync.OnceFunc(func() { s.leave(m) }), nil
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		} else {
			timer.Reset(wait)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return func() {}, context.Cause(ctx)
		}
	}
}

// tryJoin joins, or returns how long to wait before the next try.
func (s *Set) tryJoin(m *member, began time.Time) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var wait time.Duration
	for _, h := range m.shares {
		wait = max(wait, h.delay(now))
	}
	if left := mostWait - now.Sub(began); wait > 0 && left > 0 {
		return min(max(wait, leastWait), left), nil
	}

	s.members = append(s.members, m)
	for _, h := range m.shares {
		if len(h.members) == 0 {
			h.settle(now)
		}
		h.members = append(h.members, m)
	}
	if m.limited = m.hasLimit(); !m.limited {
		return 0, nil
	}
	m.begin(now)
	m.lend(advance)
	m.rate = -1 // to be told in any case
	if s.divide(now); m.err != nil {
		s.remove(m, now)
	}
	return 0, m.err
}

func (s *Set) leave(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(m, time.Now())
}

func (s *Set) remove(m *member, now time.Time) {
	if m.limited {
		m.count()
		m.repay()
	}
	s.members = without(s.members, m)
	for _, h := range m.shares {
		h.members = without(h.members, m)
		if len(h.members) == 0 {
			h.used, h.packet = 0, 0
			h.settle(now)
		}
	}
	if m.limited {
		s.divide(now)
	}
}

// without removes m and does not keep the order.
func without(members []*member, m *member) []*member {
	i, last := slices.Index(members, m), len(members)-1
	members[i] = members[last]
	members[last] = nil
	return members[:last]
}

func (m *member) hasLimit() bool {
	return slices.ContainsFunc(m.shares, func(h *Share) bool { return h.limit > 0 })
}

// tick is called as long as transfers with a limit run.
func (s *Set) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticking = false
	now := time.Now()
	s.measure(now)
	s.divide(now)
}

// measure brings the accounts of all shares with members up to date.
func (s *Set) measure(now time.Time) {
	for _, m := range s.members {
		if m.limited {
			m.count()
			m.judge(now)
		}
	}
	for _, m := range s.members {
		for _, h := range m.shares {
			h.settle(now)
		}
	}
}

// divide finds the rates, tells those that changed, and lets the timer run only
// while there is a limit.
func (s *Set) divide(now time.Time) {
	var limited []*member
	for _, m := range s.members {
		was := m.limited
		m.limited = m.hasLimit()
		switch {
		case m.limited:
			if !was {
				m.begin(now)
			}
			limited = append(limited, m)
		case was:
			m.tell(0, now)
		}
	}
	fill(limited)
	for _, m := range limited {
		m.tell(whole(m.granted), now)
	}
	if len(limited) == 0 {
		if s.timer != nil && s.timer.Stop() {
			s.ticking = false
		}
		return
	}
	if !s.ticking {
		s.ticking = true
		if s.timer == nil {
			s.timer = time.AfterFunc(interval, s.tick)
		} else {
			s.timer.Reset(interval)
		}
	}
}

// tell sets the rate if it changed by more than 1 %.
func (m *member) tell(rate int64, now time.Time) {
	change := math.Abs(float64(rate) - float64(m.rate))
	if m.rate == rate || m.rate > 0 && rate > 0 && change <= float64(m.rate)/100 {
		return
	}
	if m.err = m.transfer.SetRate(rate); m.err == nil {
		m.offer(now, float64(rate))
		m.rate = rate
	}
}

// whole makes a rate a number that says neither "none" nor more than there is.
func whole(rate float64) int64 {
	if rate >= math.MaxInt64 {
		return math.MaxInt64
	}
	return max(int64(rate), 1)
}
