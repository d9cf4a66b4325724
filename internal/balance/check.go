package balance

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A probe is a question that is asked again and again.
type probe uint8

const (
	checks probe = iota
	agents
)

// A prober asks one server one question, on a goroutine of its own. One that is stopped
// is not the server's prober any more, so its verdict is dropped.
type prober struct {
	kind probe
	depends
	end context.CancelFunc
}

// depends is what a prober was started for.
type depends struct {
	checkKey          string
	interval, timeout time.Duration
	host              string
}

// An answer is what one question came to.
type answer struct {
	text string
	took time.Duration
	err  error
}

// startProbers lets a server's probers be what the settings say.
func (g *Group) startProbers(s *server) {
	want := depends{g.settings.CheckKey, g.settings.Interval, g.settings.Timeout, s.Host}
	for _, kind := range []probe{checks, agents} {
		asks := g.settings.asks(kind)
		if p := s.probers[kind]; p != nil {
			if asks && p.depends == want {
				continue
			}
			s.stop(kind)
		}
		if asks {
			ctx, cancel := context.WithCancel(context.Background())
			p := &prober{kind: kind, depends: want, end: cancel}
			s.probers[kind] = p
			g.running.Add(1)
			go g.probe(ctx, s, p)
		}
	}
}

// stop ends a prober, and waits for nothing.
func (s *server) stop(kind probe) {
	if p := s.probers[kind]; p != nil {
		p.end()
		s.probers[kind] = nil
	}
}

// probe asks at once, and then after every interval.
func (g *Group) probe(ctx context.Context, s *server, p *prober) {
	defer g.running.Done()
	answers := make(chan answer, 1)
	asking := false // a call has not ended
	for {
		var a answer
		a, asking = g.question(ctx, s, p, answers, asking)
		if ctx.Err() != nil || !g.report(s, p, a) {
			return
		}
		pause := time.NewTimer(g.spread(p.interval))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// question asks, and waits for the answer until the timeout. asking tells, before and
// after, whether a call has not ended: one that does not heed its context.
func (g *Group) question(ctx context.Context, s *server, p *prober, answers chan answer, asking bool) (answer, bool) {
	if asking {
		select {
		case <-answers: // It comes too late to say anything about now.
		default:
			return answer{err: errHangs}, true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	g.running.Add(1)
	go g.ask(ctx, s, p.kind, answers)
	select {
	case a := <-answers:
		if a.err != nil && ctx.Err() != nil {
			a.err = fmt.Errorf("no answer within %v", p.timeout)
		}
		return a, false
	case <-ctx.Done():
		return answer{err: fmt.Errorf("no answer within %v", p.timeout)}, true
	}
}

var errHangs = errors.New("the last check still hangs")

// ask asks once. There is room for its answer.
func (g *Group) ask(ctx context.Context, s *server, kind probe, answers chan<- answer) {
	defer g.running.Done()
	g.mu.Lock()
	check, agent, target := g.settings.Check, g.settings.Agent, s.Target
	g.unlock()
	var a answer
	switch {
	case kind == checks && check != nil:
		a.text, a.took, a.err = check(ctx, target)
	case kind == agents && agent != nil:
		began := time.Now()
		a.text, a.err = agent(ctx, target)
		a.took = time.Since(began)
	}
	answers <- a
}

// spread makes an interval up to a tenth longer or shorter, so that many checks do not come
// at the same time.
func (g *Group) spread(interval time.Duration) time.Duration {
	g.mu.Lock()
	part := 0.9 + 0.2*g.rand.Float64()
	g.unlock()
	return time.Duration(float64(interval) * part)
}

// report takes an answer in. It tells whether the prober goes on.
func (g *Group) report(s *server, p *prober, a answer) bool {
	g.mu.Lock()
	defer g.unlock()
	if s.probers[p.kind] != p {
		return false
	}
	r := Report{Text: printable(a.text), Err: a.err, Took: a.took, At: time.Now()}
	if p.kind == checks {
		g.judge(s, a)
	} else if a.err == nil {
		r.Err = g.listen(s, a.text)
	}
	s.reports[p.kind] = r
	return true
}

// judge counts a verdict of the check.
func (g *Group) judge(s *server, a answer) {
	if a.err == nil {
		s.falls = 0
		s.rises++
		if !s.well && s.rises >= g.settings.Rise {
			g.heal(s, ByCheck, a.text)
		}
	} else {
		s.rises = 0
		s.falls++
		if s.well && (s.falls >= g.settings.Fall || s.unseen) {
			g.sicken(s, ByCheck, a.err.Error())
		}
	}
	s.unseen = false
}

// listen does what the agent says.
func (g *Group) listen(s *server, line string) error {
	advice, err := ParseAgent(line)
	s.take(advice)
	why := advice.Text
	if why == "" {
		why = printable(line)
	}
	g.changed = true // More sessions may be allowed.
	g.refresh(s, ByAgent, why)
	return err
}
