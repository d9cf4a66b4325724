package pace

import (
	"cmp"
	"math"
	"slices"
)

// A division is the state of a share while it is filled.
type division struct {
	budget   float64 // what is given out, in bytes per second
	left     float64
	unfilled int // members without a portion
}

// A portion is what the filling gives a member, in bytes per second.
type portion struct {
	demand   float64 // it is expected to use no more
	expected float64 // -1 until known
	granted  float64 // expected, and the room above it
}

// fill divides the shares of members, each of which has a limit, max-min fair: the
// least demand is met first, and when a share has less left for each than that, its
// members get equal parts of the rest.
func fill(members []*member) {
	several := prepare(members)
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.demand, b.demand) })
	for i := 0; i < len(members); {
		m := members[i]
		if m.expected >= 0 {
			i++
			continue
		}
		tight, level := tightest(several)
		if tight == nil || m.demand <= level {
			m.expect(m.demand)
			continue
		}
		for _, m := range tight.members {
			if m.expected < 0 {
				m.expect(level)
			}
		}
	}
	for _, m := range members {
		m.grant()
	}
}

// prepare finds the demands. A share of one member, as sessions have, is part of its
// demand; it returns those of several.
func prepare(members []*member) (several []*Share) {
	for _, m := range members {
		for _, h := range m.shares {
			h.unfilled = 0
		}
	}
	for _, m := range members {
		m.demand, m.expected = math.Inf(1), -1
		if !m.hungry {
			m.demand = m.pace
		}
		for _, h := range m.shares {
			switch {
			case h.limit == 0:
				continue
			case h.unfilled == 0:
				h.unfilled = len(h.members)
				h.budget = h.available()
				h.left = h.budget
				h.used = 0
				if len(h.members) > 1 {
					several = append(several, h)
				}
			}
			if len(h.members) == 1 {
				m.demand = min(m.demand, h.budget)
			}
		}
	}
	return several
}

// tightest is the share with the least for each of its members that has no
// portion yet.
func tightest(shares []*Share) (tight *Share, level float64) {
	level = math.Inf(1)
	for _, h := range shares {
		if h.unfilled > 0 && h.left/float64(h.unfilled) < level {
			tight, level = h, max(h.left/float64(h.unfilled), 0)
		}
	}
	return tight, level
}

func (m *member) expect(rate float64) {
	m.expected = rate
	for _, h := range m.shares {
		if h.limit > 0 {
			h.left -= rate
			h.used += rate
			h.unfilled--
		}
	}
}

// grant adds to what a member is expected to use the room in which it can show that
// it has become hungry: what nobody uses, but at least a little.
func (m *member) grant() {
	m.granted = m.expected
	if m.hungry || m.expected < m.demand {
		return
	}
	uses := max(m.expected, m.recent)
	room, most := math.Inf(1), math.Inf(1)
	for _, h := range m.shares {
		if h.limit > 0 {
			all := float64(len(h.members))
			little := uses*headroom + h.budget/all/8
			room = min(room, max(h.left/all, little))
			most = min(most, h.budget)
		}
	}
	m.granted = min(uses+room, most)
}
