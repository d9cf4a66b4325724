// Package timers keeps several deadlines on one clock timer: almost all of them are set
// again before they expire.
package timers

import "time"

// Max is how many there may be.
const Max = 14

// Timers are deadlines on one clock timer, by an ID that is less than Max.
type Timers[ID ~int] struct {
	began time.Time
	at    [Max]time.Duration // after began; 0: never
	timer *time.Timer
	armed time.Duration // when timer will fire; 0: never
}

// Init comes before all else.
func (t *Timers[ID]) Init() {
	t.began = time.Now()
	t.timer = time.NewTimer(time.Hour)
	t.timer.Stop()
}

// Stop gives the clock timer back.
func (t *Timers[ID]) Stop() { t.timer.Stop() }

// Set has a timer expire after d, whatever it was set to.
func (t *Timers[ID]) Set(id ID, d time.Duration) { t.at[id] = time.Since(t.began) + d }

// SetIfUnset leaves a timer that is set what it is.
func (t *Timers[ID]) SetIfUnset(id ID, d time.Duration) {
	if t.at[id] == 0 {
		t.Set(id, d)
	}
}

// Clear has a timer not expire.
func (t *Timers[ID]) Clear(id ID) { t.at[id] = 0 }

// IsSet tells whether a timer is to expire.
func (t *Timers[ID]) IsSet(id ID) bool { return t.at[id] != 0 }

// C arms the clock timer for the earliest deadline. A timer that fires before
// its deadline was moved is armed again by the loop's next turn; one that was
// cleared costs one empty turn.
func (t *Timers[ID]) C() <-chan time.Time {
	var first time.Duration
	for _, at := range t.at {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	if first != 0 && (t.armed == 0 || first < t.armed) {
		t.timer.Reset(first - time.Since(t.began))
		t.armed = first
	}
	return t.timer.C
}

// Expired takes the deadlines that have passed.
func (t *Timers[ID]) Expired() []ID {
	t.armed = 0
	var ids []ID
	now := time.Since(t.began)
	for id, at := range t.at {
		if at != 0 && at <= now {
			ids = append(ids, ID(id))
			t.at[id] = 0
		}
	}
	return ids
}
