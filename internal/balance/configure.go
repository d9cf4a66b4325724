package balance

import (
	"cmp"
	"net/netip"
	"slices"
)

// Configure sets how the group works, and its servers. What is known of a server whose
// Name and Addr stay is kept. One that is not among the targets any more is not picked;
// it is forgotten when its last session ends. Of targets with the same Name and Addr the
// first counts. What an administrator has Set is forgotten for names that no target has.
func (g *Group) Configure(s Settings, targets []Target) {
	g.mu.Lock()
	defer g.unlock()
	if g.closed {
		return
	}
	old := g.settings
	g.settings = s.withDefaults()
	anew := g.settings.CheckKey != old.CheckKey || g.settings.Interval != old.Interval || g.settings.Timeout != old.Timeout
	g.setTargets(targets, anew)
	for name := range g.hand {
		if !slices.ContainsFunc(targets, func(t Target) bool { return t.Name == name }) {
			delete(g.hand, name)
		}
	}
}

// SetTargets sets the servers as Configure does, and leaves all else as it is: it is for a
// name that has other addresses now. What an administrator has Set is kept for every name,
// because a name that has no address now may have one again.
func (g *Group) SetTargets(targets []Target) {
	g.mu.Lock()
	defer g.unlock()
	if !g.closed {
		g.setTargets(targets, false)
	}
}

// setTargets sets the servers. anew ends all checks that run and starts them again.
func (g *Group) setTargets(targets []Target, anew bool) {
	named := make(map[*server]bool, len(targets))
	servers := make([]*server, 0, len(targets))
	up := 0
	for _, t := range targets {
		s := g.adopt(t.normal())
		if named[s] {
			continue
		}
		named[s] = true
		servers = append(servers, s)
		if s.state == Up {
			up++
		}
	}
	for id, s := range g.known {
		s.gone = !named[s]
		if !s.gone {
			continue
		}
		s.stop(checks)
		s.stop(agents)
		if s.sessions == 0 {
			delete(g.known, id)
		}
	}
	// All at once, so that a group whose servers are all new is usable all the time.
	g.count(up - g.up)
	g.tiers = tiers(servers)
	g.free, g.doubted, g.full, g.tied = nil, nil, nil, nil // They would keep forgotten ones.
	for _, s := range servers {
		g.probe(s, anew)
	}
	g.changed = true
}

// normal gives a target with all that configurations may leave out, and its address in
// one form.
func (t Target) normal() Target {
	t.Addr = netip.AddrPortFrom(t.Addr.Addr().Unmap(), t.Addr.Port())
	t.Weight = min(max(t.Weight, 1), maxWeight)
	t.Max = max(t.Max, 0)
	return t
}

// adopt gives a target's server, which may be a new one, and takes back what the new
// settings leave nobody to take back. One that is new or returns still counts as gone, so
// nobody is told of it.
func (g *Group) adopt(t Target) *server {
	s := g.known[t.id()]
	if s == nil {
		s = &server{hash: hashServer(t.Addr), gone: true, health: health{well: true, new: true}}
		g.known[t.id()] = s
	} else if s.gone {
		s.current = 0
	}
	s.Target = t
	s.hand = g.hand[t.Name]
	if !g.settings.asks(agents) {
		s.agent = agent{}
	}
	if !g.settings.asks(checks) && !s.well && s.sick == ByCheck {
		s.sick, s.ill = ByConfig, "it was down when its check was switched off; sessions try it"
	}
	g.refresh(s, ByConfig, "who had decided is not asked any more")
	return s
}

// tiers puts servers in tiers, the one that is used first in front. In a tier they keep
// their order.
func tiers(servers []*server) [][]*server {
	slices.SortStableFunc(servers, func(a, b *server) int { return cmp.Compare(a.Tier, b.Tier) })
	var tiers [][]*server
	for i, s := range servers {
		if i == 0 || s.Tier != servers[i-1].Tier {
			tiers = append(tiers, nil)
		}
		last := &tiers[len(tiers)-1]
		*last = append(*last, s)
	}
	return tiers
}

// probe starts and stops the probers of a server as the settings want it.
func (g *Group) probe(s *server, anew bool) {
	for _, kind := range [...]probe{checks, agents} {
		asks := g.settings.asks(kind)
		if p := s.probers[kind]; p != nil && (anew || !asks || p.host != s.Host) {
			s.stop(kind)
		}
		switch {
		case !asks:
			s.reports[kind] = Report{}
		case s.probers[kind] == nil:
			if kind == checks {
				s.rises, s.falls = 0, 0 // Another check may have counted them.
			}
			g.start(s, kind)
		}
	}
}
