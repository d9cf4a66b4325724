package integration

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

// testStressLate: one port, and two sessions of one address. A is told the port and
// comes late. B wants a port meanwhile, and must not get the one that is promised to A.
// A is served up to data_connect. Later it is turned away, and then B is served.
func testStressLate(t *testing.T) {
	t.Parallel()
	all := []*latecomer{
		{delay: 6 * time.Second, verb: "RETR"}, {delay: 12 * time.Second, verb: "STOR"},
		{delay: 25 * time.Second, verb: "RETR"}, {delay: 40 * time.Second, verb: "RETR"},
	}
	var running sync.WaitGroup
	for _, s := range all { // All at once, because they mostly wait.
		s.rig = stressRow{ports: 1, setups: passiveSetups[:1]}.start(t)
		running.Go(func() { s.run(t) })
	}
	running.Wait()
	for _, s := range all {
		least := int64(2)
		if !s.served() {
			least = 1
		}
		t.Logf("A comes after %v:", s.delay)
		s.rig.verdict(t, s.took, least)
	}
}

type latecomer struct {
	rig   *stressRig
	took  time.Duration
	a, b  *stressClient
	delay time.Duration
	verb  string        // what B does
	tried chan struct{} // closed when A has connected, or tried to
	gone  chan struct{} // closed when A needs its port no more
}

// served tells whether A must be. In direct mode it has a port for itself.
func (s *latecomer) served() bool { return s.delay < promised || stressDirect }

// client begins a session.
func (s *latecomer) client() (*stressClient, error) {
	c := &stressClient{stressWorld: s.rig.stressWorld, bind: s.rig.place.client, rand: rand.New(rand.NewPCG(0, 0)), last: "its beginning"}
	return c, c.logIn()
}

func (s *latecomer) run(t *testing.T) {
	w := s.rig
	ctx, cancel := context.WithTimeout(context.Background(), s.delay+time.Minute)
	defer cancel()
	w.stop, w.cut = ctx, ctx
	context.AfterFunc(ctx, w.cutAll)
	w.began = time.Now()
	defer func() { s.took = time.Since(w.began) }()
	s.tried, s.gone = make(chan struct{}), make(chan struct{})
	var errA, errB error
	s.a, errA = s.client()
	s.b, errB = s.client()
	defer s.a.end(false)
	defer s.b.end(false)
	if errA != nil || errB != nil {
		return // The ledger has why.
	}
	l, err := s.a.agree()
	if l == nil {
		t.Errorf("A is told no port: %v", err)
		return
	}
	var other sync.WaitGroup
	other.Go(func() { s.other(t) })
	s.late(t, l)
	close(s.gone)
	other.Wait()
}

// late is A.
func (s *latecomer) late(t *testing.T, l *stressLeg) {
	c := s.a
	defer l.close(c)
	o := c.orderOf(l, 1000)
	o.verb = "RETR"
	over := s.hears421()
	if over {
		t.Logf("A of %v hears 421 after %v", s.delay, time.Since(l.told).Round(time.Millisecond))
	}
	c.pause(time.Until(l.told.Add(s.delay)))
	o.tried = true
	err := l.open(c)
	close(s.tried)
	if err != nil {
		t.Logf("A connects after %v: %v", s.delay, err)
		if s.served() {
			c.blame(unserved, "%v: %v", o, err)
		} else if err = l.open(c); err == nil { // It was told of a failure, and tries once more.
			s.turnedAway(t, l)
		}
		return
	}
	if !s.served() {
		s.turnedAway(t, l)
		return
	}
	if _, err := s.nothing(l); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.blame(unserved, "%v: %v before any command", o, err)
		return
	}
	if over {
		c.blame(unserved, "%v: 421 before data_connect was over", o)
		return
	}
	l.within(replyLimit)
	_ = c.transfer(o, false)
}

// hears421 waits until A is to connect, and tells whether it heard 421 meanwhile. A does
// not close its control connection then: it goes on trying, as a slow client may that
// looks at its replies only afterwards.
func (s *latecomer) hears421() bool {
	c := s.a
	_ = c.raw.SetReadDeadline(time.Now().Add(s.delay))
	code, _, err := c.raw.reply()
	if err == nil && code == 421 {
		c.add(said421)
	}
	return err == nil
}

// nothing looks at A's data connection, on which nothing may come before A has said
// what to transfer.
func (s *latecomer) nothing(l *stressLeg) (int, error) {
	l.within(2 * time.Second)
	p := make([]byte, recordSize)
	n, err := io.ReadFull(l.conn, p)
	if n > 0 {
		s.a.mismatch(false, "session %06x has asked for no file: %v: %q", s.a.session, l, p[:n])
	}
	return n, err
}

func (s *latecomer) turnedAway(t *testing.T, l *stressLeg) {
	n, err := s.nothing(l)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		s.a.blame(broken, "%v: is not closed, though its port is not promised any more", l)
	}
	t.Logf("A is turned away after %v: %v", s.delay, err)
}

// other is B. A port that it is told before A has come it uses only then.
func (s *latecomer) other(t *testing.T) {
	c := s.b
	var end <-chan time.Time
	gone := s.gone
	for {
		l, err := c.agree()
		if err != nil {
			return
		}
		if l != nil {
			early := ""
			select {
			case <-s.tried:
			default:
				early = "before A has come "
				<-s.tried
				c.pause(100 * time.Millisecond)
			}
			t.Logf("B beside A of %v was told %d %s%v ago", s.delay, l.at.Port(), early, time.Since(l.told).Round(time.Millisecond))
			o := c.orderOf(l, 1000)
			o.verb = s.verb
			_ = c.transfer(o, true)
			return
		}
		select {
		case <-gone:
			// A heard 421 after data_connect, and has 32 s from then.
			gone, end = nil, time.After(promised+32*time.Second+10*time.Second-s.delay)
		case <-end:
			c.blame(unserved, "B has no port long after A, which came after %v", s.delay)
			return
		default:
		}
	}
}
