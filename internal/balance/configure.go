package balance

import (
	"cmp"
	"slices"
	"time"
)

// Configure gives the group new settings and servers. What is known of a server that stays
// (same Name and Addr) is kept: its sessions, its health, what an administrator has set.
// One that is not named any more is not picked; those that have it keep it, and it is
// forgotten when the last of them is released.
//
// The caller bounds the number of targets. A thousand are fine; of one name with very many
// addresses it should use the first 256. A target that is named twice counts once.
func (g *Group) Configure(settings Settings, targets []Target) {
	g.mu.Lock()
	defer g.unlock()
	if g.closed {
		return
	}
	before := g.settings
	g.settings = settings.withDefaults()
	g.setTargets(targets)
	for name := range g.hand {
		if !slices.ContainsFunc(targets, func(t Target) bool { return t.Name == name }) {
			delete(g.hand, name)
		}
	}
	for _, s := range g.known {
		if before.CheckKey != g.settings.CheckKey {
			s.rises, s.falls = 0, 0
		}
		if before.asks(checks) && !g.settings.asks(checks) {
			s.rises, s.falls = 0, 0
			s.reports[checks] = Report{}
			s.failed = time.Time{} // Sessions may try at once what the check had taken down.
		}
		if before.asks(agents) && !g.settings.asks(agents) {
			s.agent, s.reports[agents] = agent{}, Report{}
			g.refresh(s, ByConfig, "no agent is asked any more")
		}
	}
}

// SetTargets gives the group other servers, and leaves the settings: a name has other
// addresses. Unlike Configure, it forgets nothing that an administrator has set.
func (g *Group) SetTargets(targets []Target) {
	g.mu.Lock()
	defer g.unlock()
	if !g.closed {
		g.setTargets(targets)
	}
}

func (g *Group) setTargets(targets []Target) {
	stays := make(map[*server]bool, len(targets))
	var all, back []*server
	for _, t := range targets {
		t.Weight = min(max(t.Weight, 1), maxWeight)
		s := g.known[t.id()]
		switch {
		case s == nil:
			s = g.newServer(t)
		case stays[s]:
			continue
		case s.gone:
			back = append(back, s)
		}
		s.Target, s.gone = t, false
		stays[s] = true
		all = append(all, s)
	}
	for at, s := range g.known {
		if stays[s] {
			continue
		}
		s.gone = true
		s.stop(checks)
		s.stop(agents)
		if s.sessions == 0 {
			delete(g.known, at)
		}
	}
	slices.SortStableFunc(all, func(a, b *server) int { return cmp.Compare(a.Tier, b.Tier) })
	g.tiers = nil
	up := 0
	for i, s := range all {
		if i == 0 || s.Tier != all[i-1].Tier {
			g.tiers = append(g.tiers, nil)
		}
		last := &g.tiers[len(g.tiers)-1]
		*last = append(*last, s)
		if s.state == Up {
			up++
		}
	}
	g.count(up - g.up)
	for _, s := range back {
		s.hand = g.hand[s.Name]
		g.refresh(s, ByHand, "set by hand")
	}
	for _, s := range all {
		g.startProbers(s)
	}
	g.changed = true
}

// newServer begins to know a server.
func (g *Group) newServer(t Target) *server {
	addr := t.Addr.Addr()
	s := &server{Target: t, hash: mix(hashAddr(addr) + uint64(t.Addr.Port()))}
	s.well, s.unseen = true, true
	s.pause = leastPause
	s.hand = g.hand[t.Name]
	s.state, s.by = s.wanted()
	g.known[t.id()] = s
	return s
}
