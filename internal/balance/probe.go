package balance

import (
	"context"
	"fmt"
	"time"
)

// A probe is one of the two things that a server is asked at intervals.
type probe int

const (
	checks probe = iota // Settings.Check
	agents              // Settings.Agent
)

func (kind probe) String() string { return [...]string{"check", "agent"}[kind] }

// A Report is what came of the last check, or of the last question to the agent.
type Report struct {
	At   time.Time // when it ended; zero: there was none
	Text string    // what the check said, or the agent's line
	Took time.Duration
	Err  error
}

// A prober asks one server one thing at intervals. Its verdicts count while it is the
// server's prober, so one that was stopped changes nothing any more.
type prober struct {
	group  *Group
	server *server
	kind   probe
	host   string // of the target when it started
	ctx    context.Context
	cancel context.CancelFunc
}

// A call is one call of Check or Agent.
type call struct {
	by    *prober
	late  bool          // it counted as failed, so its report does not count; only by uses it
	ended chan struct{} // closed when the report is set
	Report
}

// callOf names the one call that a server may have for each kind. It goes by the server's
// id, because a call that ignores its context may outlive the server's state.
type callOf struct {
	id
	kind probe
}

// start starts a prober. The group is locked.
func (g *Group) start(s *server, kind probe) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{group: g, server: s, kind: kind, host: s.Host, ctx: ctx, cancel: cancel}
	s.probers[kind] = p
	g.running.Go(p.run)
}

// stop ends a prober, if there is one. The group is locked.
func (s *server) stop(kind probe) {
	if p := s.probers[kind]; p != nil {
		p.cancel()
		s.probers[kind] = nil
	}
}

// run asks at once, and then at intervals, which count from the start of each call.
func (p *prober) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			return
		}
		began := time.Now()
		report, ok := p.ask()
		if !ok {
			return
		}
		pause, ok := p.report(report)
		if !ok {
			return
		}
		timer.Reset(time.Until(began.Add(pause)))
	}
}

// ask makes one call, and waits for its end for Settings.Timeout. While an earlier call goes
// on it makes none, and if that was its own one the server fails again. ok is false when the
// prober was stopped.
func (p *prober) ask() (r Report, ok bool) {
	c, timeout := p.call()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for c != nil {
		late := timer.C
		if c.by != p {
			late = nil // That it goes on says nothing of what this prober asks.
		}
		select {
		case <-c.ended:
			if c.by == p && !c.late {
				r = c.Report
				r.At = time.Now()
				return r, true
			}
			c, timeout = p.call()
			timer.Reset(timeout)
		case <-late:
			c.late = true
			err := fmt.Errorf("balance: the %v did not end within %v", p.kind, timeout)
			return Report{At: time.Now(), Took: timeout, Err: err}, true
		case <-p.ctx.Done():
			return Report{}, false
		}
	}
	return Report{}, false
}

// call gives the server's call of this kind. If none is running it starts one. It is nil
// when the prober was stopped.
func (p *prober) call() (*call, time.Duration) {
	g, s := p.group, p.server
	g.mu.Lock()
	defer g.unlock()
	timeout := g.settings.Timeout
	if s.probers[p.kind] != p {
		return nil, timeout
	}
	key := callOf{s.id(), p.kind}
	if c := g.calls[key]; c != nil {
		return c, timeout
	}
	c := &call{by: p, ended: make(chan struct{})}
	g.calls[key] = c
	settings, target := g.settings, s.Target
	g.running.Go(func() { c.run(key, &settings, target) })
	return c, timeout
}

// run calls the function, however long that takes.
func (c *call) run(key callOf, settings *Settings, target Target) {
	ctx, cancel := context.WithTimeout(c.by.ctx, settings.Timeout)
	defer cancel()
	if key.kind == checks {
		c.Text, c.Took, c.Err = settings.Check(ctx, target)
	} else {
		began := time.Now()
		c.Text, c.Err = settings.Agent(ctx, target)
		c.Took = time.Since(began)
	}
	g := c.by.group
	g.mu.Lock()
	delete(g.calls, key)
	g.unlock()
	close(c.ended)
}

// report takes a report in, and gives the time from the start of this call to the next one.
func (p *prober) report(r Report) (pause time.Duration, ok bool) {
	g, s := p.group, p.server
	g.mu.Lock()
	defer g.unlock()
	if s.probers[p.kind] != p {
		return 0, false
	}
	if p.kind == checks {
		g.checked(s, r.Err)
	} else if r.Err == nil {
		r.Err = g.advised(s, r.Text)
		r.Text = firstLine(r.Text)
	}
	r.Text = clean(r.Text, maxText)
	s.reports[p.kind] = r
	// A tenth more or less, so that the servers are not all asked at once for ever.
	return time.Duration(float64(g.settings.Interval) * (0.9 + 0.2*g.rand.Float64())), true
}

// checked counts a verdict of the check.
func (g *Group) checked(s *server, err error) {
	first := s.new
	s.new = false
	if err == nil {
		s.falls = 0
		s.rises++
		if !s.well && s.rises >= g.settings.Rise {
			g.heal(s, ByCheck, "the check succeeds")
		}
		return
	}
	s.rises = 0
	s.falls++
	if s.well && (first || s.falls >= g.settings.Fall) {
		g.sicken(s, ByCheck, clean(err.Error(), maxText))
	}
}

// advised takes the agent's line in.
func (g *Group) advised(s *server, line string) error {
	advice, err := ParseAgent(line)
	if err != nil {
		return err
	}
	before := s.agent
	if s.agent.heed(advice); s.agent != before {
		s.agent.says = "the agent says: " + advice.String()
		g.refresh(s, ByAgent, s.agent.says)
		g.changed = true // The limit may be a higher one.
	}
	return nil
}
