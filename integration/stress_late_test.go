package integration

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// testStressLate: one port, and two sessions of one address. A is told the port and
// comes late. B wants a port meanwhile, and must not get the one that is promised to A.
// A is served up to data_connect. Later it is turned away, and then B is served.
func testStressLate(t *testing.T) {
	for _, s := range []*latecomer{
		{delay: 6 * time.Second, verb: "RETR"}, {delay: 12 * time.Second, verb: "STOR"},
		{delay: 25 * time.Second, verb: "RETR"}, {delay: 40 * time.Second, verb: "RETR"},
	} {
		t.Run(s.delay.String(), func(t *testing.T) {
			t.Parallel()
			row := stressRow{ports: 1, setups: passiveSetups[:1]}
			w := row.start(t)
			limit := s.delay + time.Minute
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			w.stop, w.cut = ctx, ctx
			context.AfterFunc(ctx, w.cutAll)
			s.tried, s.gone = make(chan struct{}), make(chan struct{})
			client := func() *stressClient {
				return &stressClient{stressWorld: w.stressWorld, bind: w.place.client, rand: rand.New(rand.NewPCG(0, 0)), last: "its beginning"}
			}
			s.a, s.b = client(), client()
			if s.a.logIn() == nil && s.b.logIn() == nil {
				s.run(t)
			}
			s.a.end(false)
			s.b.end(false)
			least := int64(2)
			if !s.served() {
				least = 1
			}
			w.verdict(t, time.Since(w.began), least)
		})
	}
}

type latecomer struct {
	a, b  *stressClient
	delay time.Duration
	verb  string        // what B does
	tried chan struct{} // closed when A has connected, or tried to
	gone  chan struct{} // closed when A needs its port no more
}

// served tells whether A must be. In direct mode it has a port for itself.
func (s *latecomer) served() bool { return s.delay < promised || stressDirect }

func (s *latecomer) run(t *testing.T) {
	l, err := s.a.agree()
	if l == nil {
		t.Errorf("A is told no port: %v", err)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.other(t)
	}()
	s.late(t, l)
	close(s.gone)
	<-done
}

// late is A.
func (s *latecomer) late(t *testing.T, l *stressLeg) {
	c := s.a
	defer l.close(c)
	o := c.orderOf(l, 1000)
	o.verb = "RETR"
	over, _ := c.listenFor(s.delay)
	if over {
		t.Logf("A hears 421 after %v", time.Since(l.told).Round(time.Millisecond))
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
	if c.raw == nil {
		c.blame(unserved, "%v: 421 before data_connect was over", o)
		return
	}
	l.within(replyLimit)
	_ = c.transfer(o, false)
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
			t.Logf("B was told %d %s%v ago", l.at.Port(), early, time.Since(l.told).Round(time.Millisecond))
			o := c.orderOf(l, 1000)
			o.verb = s.verb
			_ = c.transfer(o, true)
			return
		}
		select {
		case <-gone:
			gone, end = nil, time.After(20*time.Second)
		case <-end:
			c.blame(unserved, "B has no port 20 s after A, which came after %v", s.delay)
			return
		default:
		}
	}
}
