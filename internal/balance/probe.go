package balance

import (
	"context"
	"errors"
	"time"
)

// A probe is a kind of question to a server.
type probe int

const (
	checks probe = iota
	agents
)

// A Report is what came of the last check, or of the last question to the agent.
type Report struct {
	At   time.Time // when it ended; zero: there was none
	Took time.Duration
	Text string
	Err  error // nil: it succeeded
}

// A prober asks one server again and again.
type prober struct {
	stop context.CancelFunc
	busy chan struct{} // holds one while a question is under way, whoever waits for it
	key  string        // what it asks by: Settings.CheckKey and the rest
}

var errHangs = errors.New("no answer in time")

// stop ends the prober of a kind.
func (s *server) stop(kind probe) {
	if p := s.probers[kind]; p != nil {
		p.stop()
	}
	s.probers[kind] = nil
}

// probe starts and stops the probers of a server, after the settings or its target have changed.
func (g *Group) probe(s *server, key string) {
	for _, kind := range []probe{checks, agents} {
		p := s.probers[kind]
		if s.gone || g.closed || !g.settings.asks(kind) {
			s.stop(kind)
			continue
		}
		if p != nil && p.key == key {
			continue
		}
		busy := make(chan struct{}, 1)
		if p != nil {
			busy = p.busy // A question that hangs still counts.
		}
		s.stop(kind)
		ctx, stop := context.WithCancel(context.Background())
		p = &prober{stop: stop, busy: busy, key: key}
		s.probers[kind] = p
		g.running.Go(func() { g.run(ctx, s, kind, p) })
	}
}

// run is a prober's goroutine.
func (g *Group) run(ctx context.Context, s *server, kind probe, p *prober) {
	defer p.stop()
	for {
		report, asked := g.ask(ctx, s, kind, p)
		if ctx.Err() != nil {
			return
		}
		g.mu.Lock()
		if s.probers[kind] != p {
			g.unlock()
			return
		}
		if asked {
			g.judge(s, kind, report)
		}
		// A tenth more or less, so that many servers are not asked at the same moment.
		pause := time.Duration(float64(g.settings.Interval) * (0.9 + 0.2*g.rand.Float64()))
		g.unlock()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ask asks once, for no longer than the timeout. asked is false if the last question of this
// kind to this server has not ended yet.
func (g *Group) ask(ctx context.Context, s *server, kind probe, p *prober) (r Report, asked bool) {
	g.mu.Lock()
	settings, target := g.settings, s.Target
	g.unlock()
	if !settings.asks(kind) {
		return Report{}, false
	}
	select {
	case p.busy <- struct{}{}:
	default:
		return Report{At: time.Now(), Took: settings.Timeout, Err: errHangs}, true
	}
	ctx, cancel := context.WithTimeout(ctx, settings.Timeout)
	defer cancel()
	began := time.Now()
	out := make(chan Report, 1)
	g.running.Go(func() {
		defer func() { <-p.busy }()
		var r Report
		if kind == checks {
			r.Text, r.Took, r.Err = settings.Check(ctx, target)
		} else {
			r.Text, r.Err = settings.Agent(ctx, target)
		}
		out <- r
	})
	select {
	case r = <-out:
	case <-ctx.Done():
		select {
		case r = <-out:
		default:
			r = Report{Err: errHangs}
		}
	}
	r.At = time.Now()
	if r.Took == 0 {
		r.Took = r.At.Sub(began)
	}
	return r, true
}

// judge draws conclusions from an answer. The group is locked.
func (g *Group) judge(s *server, kind probe, r Report) {
	s.reports[kind] = r
	if kind == agents {
		if r.Err != nil {
			return
		}
		said, err := s.agent.parse(r.Text)
		if err != nil {
			s.reports[kind].Err = err
			return
		}
		s.agent = said
		g.changed = true // It may have said a limit.
		g.refresh(s, ByAgent, "its agent says "+r.Text)
		return
	}
	if r.Err == nil {
		s.falls = 0
		s.rises++
		s.new = false
		if !s.well && s.rises >= g.settings.Rise {
			g.heal(s, ByCheck, "its check succeeds")
		}
		return
	}
	s.rises = 0
	s.falls++
	if s.well && (s.new || s.falls >= g.settings.Fall) {
		g.sicken(s, ByCheck, "check: "+r.Err.Error())
	}
	s.new = false
}
