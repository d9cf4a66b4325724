package pace

import (
	"slices"
	"time"
)

const (
	// repayment is the time in which a debt would be repaid if it did not
	// shrink meanwhile.
	repayment = 2 * time.Second
	// leastPart of a limit is given out whatever the debt.
	leastPart = 0.25
	// mostPart of it is given out while a busy machine sends later than it
	// should.
	mostPart = 1.1
	// mostDebt, mostCredit and restCredit bound an account, in time at the
	// limit. A credit, and two packets more, evens out that bytes come in
	// lumps and late; it is smaller where nobody is hungry.
	mostDebt   = time.Minute
	mostCredit = 300 * time.Millisecond
	restCredit = 100 * time.Millisecond
)

// An account is what a share moved beyond its limit.
type account struct {
	debt    float64   // bytes at the time of settled; negative: credit
	since   float64   // bytes that came to be known since
	settled time.Time // when all members were looked at last
	used    float64   // bytes per second that the members are expected to move
	packet  int64     // the largest of any member
}

// restart forgets what was owed.
func (a *account) restart(now time.Time) { a.debt, a.since, a.settled = 0, 0, now }

// settle lets the time that passed count, when all that was moved is known.
func (h *Share) settle(now time.Time) {
	h.debt += h.since - h.limit*now.Sub(h.settled).Seconds()
	h.since, h.settled = 0, now
	credit := restCredit
	switch {
	case len(h.members) == 0:
		credit = 0
	case slices.ContainsFunc(h.members, func(m *member) bool { return m.hungry }):
		credit = mostCredit
	}
	h.debt = max(h.debt, -h.limit*credit.Seconds()-float64(2*h.packet))
	h.debt = min(h.debt, h.limit*mostDebt.Seconds())
}

// delay is how long it takes until a transfer may begin, as far as known.
func (h *Share) delay(now time.Time) time.Duration {
	if h.limit == 0 {
		return 0
	}
	owed := h.debt + h.since + (h.used-h.limit)*now.Sub(h.settled).Seconds()
	late := owed/h.limit - patience.Seconds()
	return time.Duration(min(max(late, 0), mostWait.Seconds()) * float64(time.Second))
}

// available is what may be given out of the limit, in bytes per second. Where packets
// are further apart than ticks, one of them is neither debt nor credit yet.
func (h *Share) available() float64 {
	lump := max(float64(h.packet)-h.limit*interval.Seconds(), 0)
	debt := h.debt
	if debt > 0 {
		debt = max(debt-lump, 0)
	} else {
		debt = min(debt+lump, 0)
	}
	return min(max(h.limit-debt/repayment.Seconds(), h.limit*leastPart), h.limit*mostPart)
}

// A usage is what a member was seen to move.
type usage struct {
	bytes  int64 // of the transfer, when last looked at
	packet int64 // of the transfer
	lent   int64 // counted before they were moved

	// hungry says that it moved nearly what it was offered. Otherwise pace is
	// what it moves, in bytes per second, and recent what it moved in the last
	// tick.
	hungry       bool
	pace, recent float64

	window        // in which it is being judged
	tick   window // the part of it since it was last looked at

	offers float64 // bytes per second since last
	last   time.Time
}

// A window is what was moved and what could have been, at the rates told.
type window struct {
	moved   int64
	offered float64
	elapsed time.Duration
}

const (
	// A window ends when so many packets were offered in it that one makes
	// little difference, or at the latest after longestWindow.
	enoughPackets = 12
	longestWindow = 10 * time.Second
	// nearly is the part of what is offered that a hungry transfer moves at
	// least, give or take a packet. It is less than 1/(1+headroom): a steady
	// transfer must not seem hungry.
	nearly = 0.85
	// headroom is offered above what a transfer moves that is not hungry.
	headroom = 0.25
)

func (m *member) begin(now time.Time) {
	m.usage = usage{bytes: m.transfer.Acked(), packet: int64(m.transfer.Packet()), hungry: true, last: now}
	for _, h := range m.shares {
		h.packet = max(h.packet, m.packet)
	}
}

// offer notes a new rate.
func (u *usage) offer(now time.Time, rate float64) {
	elapsed := now.Sub(u.last)
	u.tick.elapsed += elapsed
	u.tick.offered += u.offers * elapsed.Seconds()
	u.last, u.offers = now, rate
}

// judge is called at each tick and ends the window if it shows enough.
func (u *usage) judge(now time.Time) {
	u.offer(now, u.offers)
	if u.tick.elapsed < interval/2 {
		return // SetLimits measures between ticks
	}
	u.recent = float64(u.tick.moved) / u.tick.elapsed.Seconds()
	u.moved += u.tick.moved
	u.offered += u.tick.offered
	u.elapsed += u.tick.elapsed
	u.tick = window{}
	if u.elapsed >= longestWindow || u.offered >= enoughPackets*float64(u.packet) {
		u.hungry = u.full(u.window)
		u.pace = float64(u.moved) / u.elapsed.Seconds()
		u.window = window{}
	}
}

// full tells whether nearly all that was offered was moved.
func (u *usage) full(w window) bool {
	return float64(w.moved+u.packet) >= nearly*w.offered
}

// lend counts bytes that are about to be moved.
func (m *member) lend(n int64) {
	m.lent += n
	m.charge(n)
}

// repay takes back what was lent and not moved.
func (m *member) repay() {
	m.charge(-m.lent)
	m.lent = 0
}

// count looks at what the transfer has moved.
func (m *member) count() {
	bytes := m.transfer.Acked()
	n := max(bytes-m.bytes, 0)
	m.bytes += n
	m.tick.moved += n
	known := min(n, m.lent)
	m.lent -= known
	m.charge(n - known)
}

func (m *member) charge(n int64) {
	for _, h := range m.shares {
		if h.limit > 0 {
			h.since += float64(n)
		}
	}
}
