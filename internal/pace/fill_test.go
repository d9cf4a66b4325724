package pace

import (
	"math"
	"math/rand/v2"
	"testing"
)

// scene makes members and shares at random; debts too.
func scene(r *rand.Rand) (members []*member, shares []*Share) {
	shares = make([]*Share, 1+r.IntN(5))
	for i := range shares {
		shares[i] = &Share{limit: math.Pow(10, 9*r.Float64())}
		switch r.IntN(4) {
		case 0:
			shares[i].limit = 0
		case 1:
			shares[i].debt = shares[i].limit * r.Float64() * 4
		}
	}
	for range r.IntN(30) {
		m := &member{}
		m.hungry = r.IntN(2) == 0
		m.pace = math.Pow(10, 9*r.Float64())
		if r.IntN(5) == 0 {
			m.pace = 0
		}
		for _, h := range shares {
			if r.IntN(2) == 0 {
				m.shares = append(m.shares, h)
			}
		}
		if m.hasLimit() {
			for _, h := range m.shares {
				h.members = append(h.members, m)
			}
			members = append(members, m)
		}
	}
	return members, shares
}

// A division is max-min fair if each member has what it demands, or is bound by a
// share that is used up and in which nobody has more.
func TestFillIsMaxMinFair(t *testing.T) {
	for range 5000 {
		seed := rand.Uint64()
		members, shares := scene(rand.New(rand.NewPCG(seed, 0)))
		fill(members)
		used, most := map[*Share]float64{}, map[*Share]float64{}
		for _, m := range members {
			for _, h := range m.shares {
				used[h] += m.expected
				most[h] = max(most[h], m.expected)
			}
		}
		const exact = 1 + 1e-9
		for _, h := range shares {
			if h.limit > 0 && used[h] > h.available()*exact {
				t.Fatalf("seed %d: %f of %f is given out", seed, used[h], h.available())
			}
			if h.limit > 0 && h.available() > h.limit*mostPart || h.available() < h.limit*leastPart {
				t.Fatalf("seed %d: %f of %f is available", seed, h.available(), h.limit)
			}
		}
		for _, m := range members {
			demand := m.pace
			if m.hungry {
				demand = math.Inf(1)
			}
			bound := m.expected*exact >= demand
			for _, h := range m.shares {
				if h.limit > 0 {
					full := used[h]*exact >= h.available() && m.expected*exact >= most[h]
					bound = bound || full
					if m.granted > h.available()*exact {
						t.Fatalf("seed %d: %f granted through %f", seed, m.granted, h.available())
					}
				}
			}
			if !bound || m.expected > demand*exact || m.granted < m.expected || m.expected < 0 {
				t.Fatalf("seed %d: expected %f, granted %f, demand %f", seed, m.expected, m.granted, demand)
			}
		}
	}
}

// What is granted beyond what is expected stays small where the limit binds.
func TestRoomIsSmall(t *testing.T) {
	for range 2000 {
		seed := rand.Uint64()
		members, shares := scene(rand.New(rand.NewPCG(seed, 0)))
		fill(members)
		for _, h := range shares {
			granted := 0.0
			for _, m := range members {
				for _, other := range m.shares {
					if other == h {
						granted += m.granted
					}
				}
			}
			if h.limit > 0 && granted > h.available()*(1+headroom+0.125)*(1+1e-9) {
				t.Fatalf("seed %d: %f granted of %f", seed, granted, h.available())
			}
		}
	}
}

func BenchmarkFill(b *testing.B) {
	set := []*Share{{limit: 1e8}, {limit: 5e7}, {limit: 3e7}}
	var members []*member
	for i := range 1000 {
		session := &Share{limit: 1e6}
		m := &member{shares: []*Share{session, set[i%3], set[0]}}
		if i%3 == 0 {
			m.shares = m.shares[:2]
		}
		m.hungry, m.pace = i%2 == 0, float64(i)
		for _, h := range m.shares {
			h.members = append(h.members, m)
		}
		members = append(members, m)
	}
	for b.Loop() {
		fill(members)
	}
}
