package balance

import (
	"math"
	"net/netip"
	"time"
)

// A clock reads the time when it is first asked: most picks need none.
type clock struct{ t time.Time }

func (c *clock) now() time.Time {
	if c.t.IsZero() {
		c.t = time.Now()
	}
	return c.t
}

// leastPart of its weight is what a server in slow start begins with.
const leastPart = 0.05

// lasting is the weight of a server without slow start. Hash policies go by this one,
// so that keys do not move while a server grows.
func (s *server) lasting() float64 {
	return min(float64(s.Weight)*s.agent.part(), maxWeight)
}

// weight is what it has now.
func (g *Group) weight(s *server, c *clock) float64 {
	if s.grows.IsZero() {
		return s.lasting()
	}
	part := float64(c.now().Sub(s.grows)) / float64(g.settings.SlowStart)
	if !(part < 1) {
		s.grows = time.Time{}
		return s.lasting()
	}
	return s.lasting() * (leastPart + (1-leastPart)*part)
}

// limit is how many sessions a server may have; 0: any number.
func (s *server) limit() int {
	if s.agent.max > 0 {
		return s.agent.max
	}
	return s.Max
}

func (s *server) isFull() bool {
	limit := s.limit()
	return limit > 0 && s.sessions >= limit
}

// pick applies the policy, unless that is a hash. There is at least one server.
func (g *Group) pick(servers []*server, c *clock) *server {
	if len(servers) == 1 {
		return servers[0]
	}
	switch g.settings.Policy {
	case RoundRobin:
		return g.smooth(servers, c)
	case LeastConn:
		return g.least(servers, c)
	case Random:
		return g.two(servers, c)
	}
	return servers[0]
}

// smooth is nginx's weighted round robin: each turn, every server earns its weight, and the
// one that has earned most pays what all of them earned. So in a round each gets as many
// turns as its weight says, and they are spread evenly.
func (g *Group) smooth(servers []*server, c *clock) *server {
	var best *server
	total := 0.0
	for _, s := range servers {
		w := g.weight(s, c)
		total += w
		s.current += w
		if best == nil || s.current > best.current {
			best = s
		}
	}
	best.current -= total
	return best
}

// least gives the server with the fewest sessions for its weight.
func (g *Group) least(servers []*server, c *clock) *server {
	lowest := math.Inf(1)
	tied := g.tied[:0]
	for _, s := range servers {
		load := float64(s.sessions) / g.weight(s, c)
		if load < lowest {
			lowest, tied = load, tied[:0]
		}
		if load == lowest {
			tied = append(tied, s)
		}
	}
	g.tied = tied
	if len(tied) == 1 {
		return tied[0]
	}
	return g.smooth(tied, c)
}

// two draws two servers by weight, and takes the one with fewer sessions for its weight;
// of two that are equal the one drawn first, so that idle servers get what they weigh.
func (g *Group) two(servers []*server, c *clock) *server {
	a := g.draw(servers, nil, c)
	b := g.draw(servers, a, c)
	if float64(b.sessions)*g.weight(a, c) < float64(a.sessions)*g.weight(b, c) {
		return b
	}
	return a
}

// draw gives one by chance, but not this one.
func (g *Group) draw(servers []*server, but *server, c *clock) *server {
	total := 0.0
	for _, s := range servers {
		if s != but {
			total += g.weight(s, c)
		}
	}
	at := g.rand.Float64() * total
	var last *server
	for _, s := range servers {
		if s == but {
			continue
		}
		last = s
		if at -= g.weight(s, c); at < 0 {
			break
		}
	}
	return last
}

// preferred gives the server that a key belongs to: weighted rendezvous hashing. Each
// server has a number for each key, by chance and by its weight, and the largest wins. So
// a server that leaves moves its own keys only, each to the next in the key's own order,
// and one that comes takes only what it gets.
func preferred(key uint64, servers []*server) *server {
	var best *server
	most := math.Inf(-1)
	for _, s := range servers {
		// A number between 0 and 1, neither of them included.
		u := (float64(mix(key^s.hash)>>11) + 0.5) / (1 << 53)
		if score := s.lasting() / -math.Log(u); score > most {
			best, most = s, score
		}
	}
	return best
}

// hash gives the key's place among all keys. It is the same in every process, so that
// several proxies agree.
func (g *Group) hash(k Key) uint64 {
	if g.settings.Policy == User && k.User != "" {
		return hashText(k.User)
	}
	return hashAddr(k.Client)
}

// hashAddr hashes an address, which has no zone in 16 bytes. An IPv4 address is the same
// in IPv6.
func hashAddr(a netip.Addr) uint64 {
	bytes := a.As16()
	return hashText(string(bytes[:]))
}

// hashText is FNV-1a, mixed.
func hashText(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mix(h)
}

// mix spreads each bit over all: the last step of MurmurHash3.
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
